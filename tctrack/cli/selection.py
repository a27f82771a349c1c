"""Trackers and launchers as named on the command line."""

from __future__ import annotations

import argparse
import functools
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tctrack.config import Threads, argument, parse_yaml
from tctrack.errors import ConfigError
from tctrack.files import SHIPPED, is_name, sha256

if TYPE_CHECKING:
    from tctrack.benchmark.run import Launcher
    from tctrack.types import Frame, OnlineTracker, TrackResult


@dataclass(frozen=True)
class TrackerSpec:
    """A tracker as named on the command line, which builds it when called."""

    name: str
    options: dict[str, Any]

    def __call__(self) -> OnlineTracker:
        """Build the tracker; see :func:`make_tracker`."""
        return make_tracker(self.name, **self.options)

    @property
    def imported(self) -> bool:
        """Whether it is not one of this project."""
        return ":" in self.name

    def identity(self) -> dict[str, Any]:
        """Return what its results depend on: its name, options and files (weights, code), and the version."""
        from tctrack import __version__

        given = [Path(str(value)) for value in (self.name, *self.options.values())]
        given += [SHIPPED / f"{self.name}.safetensors", SHIPPED / self.name]
        if self.imported:
            found = importlib.util.find_spec(self.name.partition(":")[0])
            given.append(Path((found and found.origin) or ""))
        files = {path.name: sha256(path) for path in given if path.exists()}
        return {"tracker": self.name, "options": self.options, "files": files, "version": __version__}


def parse_tracker(text: str) -> tuple[str, TrackerSpec]:
    """Split ``NAME[,key=value…]`` or ``module:Class[,key=value…]`` into a label and a picklable factory.

    ``label=`` names the results; the other keys are the tracker's options.

    Raises:
        ConfigError: an option has no ``=`` or is malformed, or the label is no name of a folder.
    """
    from trackers.registry import CHECKPOINT_SUFFIXES

    name, *pairs = text.split(",")
    options: dict[str, Any] = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator:
            raise ConfigError(f"option '{pair}' of tracker '{name}' must look like key=value")
        options[key] = parse_yaml(value, f"option '{pair}' of tracker '{name}'")
    plain = Path(name).stem if Path(name).suffix in CHECKPOINT_SUFFIXES else name.rpartition(":")[2]
    label = str(options.pop("label", plain))
    if not is_name(label):
        raise ConfigError(f"tracker {label!a} cannot name a folder of results; add ,label=NAME")
    return label, TrackerSpec(name, options)


def parse_trackers(texts: Sequence[str], timeout: float | None = None) -> dict[str, TrackerSpec]:
    """Parse several trackers, and build each once, so that a mistake shows before the first sequence.

    Those of others are built in a process of their own, where what ends or stops it is no mistake yet.

    Args:
        texts: as of :func:`parse_tracker`.
        timeout: of a job that only builds the tracker; see :class:`tctrack.benchmark.run.Job`.

    Raises:
        ConfigError: two trackers have the same label, or one cannot be built.
        DependencyError: a tracker needs something that is not there.
    """
    import numpy as np

    from tctrack.benchmark import run
    from tctrack.benchmark.sequences import BenchmarkSequence

    _find_modules_here()
    nothing = BenchmarkSequence("nothing", np.zeros((1, 4)))
    factories: dict[str, TrackerSpec] = {}
    for text in texts:
        label, factory = parse_tracker(text)
        if label in factories:
            raise ConfigError(f"two trackers are called '{label}'; give one of them ,label=NAME")
        if factory.imported:
            list(run.in_processes([run.Job(label, factory, nothing, Path(), timeout=timeout)]))
        else:
            factory()
        factories[label] = factory
    return factories


def make_tracker(name: str, **options: Any) -> OnlineTracker:
    """Build a registered tracker, or an instance of ``module:Class`` with got10k's two methods.

    Raises:
        ConfigError: there is no such tracker, module or class, or it does not take the options.
    """
    module_name, separator, class_name = name.partition(":")
    if not separator:
        from trackers import build_tracker

        return build_tracker(name, **options)
    _find_modules_here()
    try:
        return ImportedTracker(getattr(importlib.import_module(module_name), class_name)(**options))
    except Exception as error:  # foreign code: whatever it raises
        raise ConfigError(f"cannot build tracker '{name}': {type(error).__name__}: {error}") from error


class ImportedTracker:
    """A tracker written for the got10k toolkit: ``init(image, box)`` and ``update(image) -> box`` on RGB PIL images."""

    def __init__(self, tracker: Any) -> None:
        self._tracker = tracker

    def init(self, frame: Frame, box: Sequence[float]) -> None:
        """Start on a frame with the target's box."""
        import numpy as np

        self._tracker.init(_to_image(frame), np.asarray(box, np.float64))

    def update(self, frame: Frame) -> TrackResult:
        """Find the target in the next frame."""
        from tctrack.types import Box, TrackResult

        return TrackResult(Box(*(float(value) for value in self._tracker.update(_to_image(frame)))))


def _find_modules_here() -> None:
    """Let the user's module be found in the current folder, where a console script does not look."""
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)


def add_launch_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of :func:`make_launcher`."""
    parser.add_argument(
        "--workers", type=argument(Threads), default=1, metavar="N", help="worker processes (default: 1)"
    )
    parser.add_argument(
        "--threads", type=argument(Threads), default=1, metavar="N", help="threads of each worker (default: 1)"
    )
    parser.add_argument("--launcher", choices=("local", "ray"), default="local", help="where to run (default: local)")
    parser.add_argument("--ray-address", default="auto", metavar="HOST:PORT", help="Ray cluster (default: auto)")


def make_launcher(args: argparse.Namespace) -> Launcher:
    """Return the launcher that the options ask for."""
    from tctrack.benchmark.run import in_processes, on_ray

    if args.launcher == "ray":
        return functools.partial(on_ray, address=args.ray_address, threads=args.threads)
    return functools.partial(in_processes, workers=args.workers, threads=args.threads)


def _to_image(frame: Frame) -> Any:
    from PIL import Image

    return Image.fromarray(frame[:, :, ::-1])
