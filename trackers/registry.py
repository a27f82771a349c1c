"""Trackers by name; a tracker's module is imported when the first one is built, so that naming them costs nothing."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tctrack.engines import is_exported
from tctrack.errors import ConfigError, require
from tctrack.models.build import MODELS
from tctrack.registry import Registry
from trackers.base import Tracker

#: Every tracker that can be named on the command line.
TRACKERS: Registry[Tracker] = Registry("tracker")
CHECKPOINT_SUFFIXES = {".safetensors", ".pth"}


def build_tracker(name: str, **options: Any) -> Tracker:
    """Build a registered tracker, or the Siamese tracker of a checkpoint or of exported graphs.

    Args:
        name: one of ``TRACKERS``, a checkpoint file that names its network, or a folder of exported graphs.
        options: keyword arguments of that tracker's factory, such as ``weights=`` and ``device=``.

    Raises:
        ConfigError: no tracker has this name, or this one does not take these options.
        DependencyError: the tracker needs an OpenCV build, package or model file that is not there.
    """
    if name not in TRACKERS and is_network(name):
        return TRACKERS["tctrack-lite"](**{"model": name, **options})
    return TRACKERS[name](**options)


def tracker_factory(name: str, **options: Any) -> Callable[[], Tracker]:
    """Build a tracker as :func:`build_tracker` does, and return what gives new trackers that share its network."""
    first = build_tracker(name, **options)

    def make() -> Tracker:
        tracker = copy.copy(first)
        tracker.reset()
        return tracker

    return make


def is_network(name: str) -> bool:
    """Whether an engine runs what a name stands for: a registered network, a checkpoint or exported graphs."""
    return name in MODELS or Path(name).suffix in CHECKPOINT_SUFFIXES or is_exported(name)


def _register(name: str, module: str, factory: str, **preset: Any) -> None:
    @TRACKERS.register(name)
    def build(**options: Any) -> Tracker:
        function = getattr(require(module, "headless"), factory)
        arguments = preset | options
        try:
            inspect.signature(function).bind(**arguments)
        except TypeError as error:
            raise ConfigError(f"tracker '{name}': {error}") from None
        tracker: Tracker = function(**arguments)
        return tracker


for _model in MODELS:
    _register(_model, "trackers.siamese", "build_siamese", model=_model)
for _kind in ("mil", "nano", "csrt", "kcf"):
    _register(_kind, "trackers.opencv", f"build_{_kind}")
_register("nanotrack", "trackers.nanotrack", "build_nanotrack")
_register("static", "trackers.static", "StaticTracker")
