"""Tracking networks by name; a network's module is imported when it is built, so that naming them costs nothing."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tctrack.config import build, load_config
from tctrack.registry import Registry

if TYPE_CHECKING:
    from tctrack.models.base import TrackingModel

#: Every tracking network that can be named; a factory takes the fields of the network's configuration.
MODELS: Registry[TrackingModel] = Registry("model")


def build_model(name: str, **options: Any) -> TrackingModel:
    """Build an untrained network; ``options`` change fields of its configuration.

    Raises:
        ConfigError: no network has this name, or its configuration lacks an option.
    """
    return MODELS[name](**options)


def _register(name: str, module: str, network: str, config: str, preset: str | None = None) -> None:
    """Register a class of a module, built from its configuration; ``preset`` is a file of values for it."""

    @MODELS.register(name)
    def factory(**options: Any) -> TrackingModel:
        home = importlib.import_module(module)
        values = {**(load_config(preset) if preset else {}), **options}
        model: TrackingModel = getattr(home, network)(build(getattr(home, config), values))
        return model


_register("tctrack-lite", "tctrack.models.lite", "TCTrackLite", "LiteConfig")
_register("tctrack-nano", "tctrack.models.lite", "TCTrackLite", "LiteConfig", "model/tctrack_nano")
_register("tctrack", "tctrack.models.tctrack", "TCTrack", "TCTrackConfig", "model/tctrack")
_register("tctrack++", "tctrack.models.tctrack", "TCTrack", "TCTrackConfig", "model/tctrack_pp")
