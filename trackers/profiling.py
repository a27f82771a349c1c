"""Where a frame's time goes: trackers side by side on one video, stage by stage."""

from __future__ import annotations

import functools
import multiprocessing
import os
import platform
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from tctrack import __version__
from tctrack.engines import Engine
from tctrack.errors import SourceError
from tctrack.settings import TrackerSettings
from tctrack.types import FloatArray, Frame, OnlineTracker, TrackResult
from tctrack.video import Overlay, Record, Source, VideoSink
from trackers.siamese import SiameseTracker

#: What an update is made of; ``other`` is what else it takes, and all that is known of a tracker without stages.
UPDATE = ("motion", "crop", "network", "choose", "other")
#: What a frame is made of, in order.
STAGES = ("decode", *UPDATE, "draw", "write")
#: Frames that pass before the first that counts.
WARM_UP = 10
#: Packages whose version bears on the speed.
_PACKAGES = ("numpy", "opencv-python", "opencv-python-headless", "onnxruntime", "onnxruntime-gpu", "openvino", "torch")


def _timed(stage: str, name: str) -> Any:
    """Return a method of :class:`SiameseTracker` that adds what it takes to a stage."""
    method = getattr(SiameseTracker, name)

    @functools.wraps(method)
    def timed(self: TimedTracker, *arguments: Any) -> Any:
        began = time.perf_counter()
        try:
            return method(self, *arguments)
        finally:
            self.seconds[stage] += time.perf_counter() - began

    return timed


class TimedTracker(SiameseTracker):
    """Tracks like :class:`SiameseTracker`, and adds up the ``seconds`` that its stages take."""

    def __init__(self, engine: Engine, settings: TrackerSettings | None = None) -> None:
        super().__init__(engine, settings)
        self.seconds = defaultdict[str, float](float)

    _follow_camera = _timed("motion", "_follow_camera")
    _aim = _timed("crop", "_aim")
    _run = _timed("network", "_run")
    _settle = _timed("choose", "_settle")


class Contender:
    """One tracker on ``batch`` copies of a target: as one batch where it can do that, else one after the other.

    Args:
        make: builds the tracker; can be pickled.
        batch: number of targets.
        name: tells it from the others.
    """

    def __init__(self, make: Callable[[], OnlineTracker], batch: int = 1, name: str = "") -> None:
        self.make, self.batch, self.name = make, batch, name
        tracker = make()
        self._siamese: TimedTracker | None = None
        self._others: list[OnlineTracker] = []
        if isinstance(tracker, SiameseTracker):
            self._siamese = TimedTracker(tracker.engine, tracker.settings)
        else:
            self._others = [tracker, *(make() for _ in range(batch - 1))]

    def start(self, frame: Frame, box: Sequence[float]) -> None:
        """Start on a target; see :meth:`trackers.base.Tracker.init`."""
        if self._siamese is not None:
            self._states = [self._siamese.start(frame, box)] * self.batch
        for tracker in self._others:
            tracker.init(frame, box)

    def update(self, frame: Frame) -> tuple[TrackResult, dict[str, float]]:
        """Find the targets in the next frame; return where the first is, and the seconds of :data:`UPDATE`.

        The results are on the processor when this returns, so no work of a GPU that they need is left out.
        """
        stages: dict[str, float] = {}
        began = time.perf_counter()
        if self._siamese is not None:
            self._siamese.seconds.clear()
            pairs = self._siamese.step_many(frame, self._states)
            self._states = [state for _, state in pairs]
            result, stages = pairs[0][0], dict(self._siamese.seconds)
        else:
            result, *_ = [tracker.update(frame) for tracker in self._others]
        stages["other"] = time.perf_counter() - began - sum(stages.values())
        return result, stages

    @property
    def engine(self) -> str:
        """The name of the engine that runs the network, or nothing for a tracker without."""
        return "" if self._siamese is None else self._siamese.engine.name

    def size(self) -> tuple[int | None, int | None]:
        """Return the network's parameters and its multiply-adds for a frame of one target, as far as they are known."""
        if self._siamese is None:
            return None, None
        engine = self._siamese.engine
        if engine.info.parameters:
            return engine.info.parameters, engine.info.macs
        if not hasattr(engine, "model"):
            return None, None
        from tctrack.engines.torch import count

        return count(engine.model)


def race(
    contenders: Sequence[Contender], source: Source, box: Sequence[float], sink: VideoSink, warm_up: int = WARM_UP
) -> dict[str, dict[str, FloatArray]]:
    """Track a target through a video with all contenders, and time every frame.

    They take turns at each frame, and another begins at each, so that what else the machine does hits all of them
    alike. A frame is decoded, drawn and written once, with the first contender's result.

    Args:
        contenders: what is compared.
        source: the video.
        box: the target in the first frame, x, y, w, h in pixels.
        sink: where the annotated frames go.
        warm_up: frames after the first that do not count.

    Returns:
        of each contender, by name, the seconds of each stage ``(T,)``.

    Raises:
        SourceError: the video cannot be read, or is too short.
        BoxError: the box is empty, not finite, or outside the frame.
    """
    frames, overlay, turns = iter(source), Overlay(contenders[0].name), list(contenders)
    first = next(frames)
    for contender in contenders:
        contender.start(first, box)
    rows: list[dict[str, dict[str, float]]] = []
    began = time.perf_counter()
    for frame in frames:
        decoded = time.perf_counter()
        updates = {contender.name: contender.update(frame) for contender in turns}
        turns.append(turns.pop(0))
        result = updates[contenders[0].name][0]
        updated = time.perf_counter()
        picture = overlay.draw(frame, [Record.of(result, frame)])
        drawn = time.perf_counter()
        sink.write(picture)
        written = time.perf_counter()
        shared = {"decode": decoded - began, "draw": drawn - updated, "write": written - drawn}
        rows.append({name: {**shared, **stages} for name, (_, stages) in updates.items()})
        began = time.perf_counter()
    rows = rows[warm_up:]
    if len(rows) < 2:
        raise SourceError(f"the video has too few frames; profiling needs {warm_up + 3} or more")
    return {
        contender.name: {
            stage: np.array([row[contender.name][stage] for row in rows])
            for stage in STAGES
            if stage in rows[0][contender.name]
        }
        for contender in contenders
    }


def summarize(stages: Mapping[str, FloatArray], batch: int = 1) -> dict[str, Any]:
    """Return the figures of one contender's times: ``total``, ``update``, ``stages``, in ms, and ``fps``.

    ``jitter_ms`` is the mean change from one frame to the next. Frames per second are those of the median frame.
    """
    update = _sum(stages, UPDATE)
    return {
        "total": _spread(_sum(stages, STAGES)),
        "update": _spread(update),
        "stages": {stage: _spread(times) for stage, times in stages.items()},
        "fps": {
            "without_decoding": float(1 / np.median(update)),
            "with_decoding": float(1 / np.median(update + stages["decode"])),
        },
    }


def compare(first: Mapping[str, FloatArray], second: Mapping[str, FloatArray]) -> dict[str, float]:
    """Return the ratio of two contenders' updates in the same frames: its median, 5th and 95th percentile."""
    low, median, high = np.percentile(_sum(first, UPDATE) / _sum(second, UPDATE), (5, 50, 95)).tolist()
    return {"median": median, "p5": low, "p95": high}


def shares(figures: Mapping[str, Any], peak: Mapping[str, float]) -> dict[str, float]:
    """Return what share of the machine's :func:`peak` the network's step reaches, as far as its size is known.

    ``product``: its multiply-adds. ``copy``: its parameters, which each step has to read once, in float32.
    """
    if not figures["parameters"] or "network" not in figures["stages"]:
        return {}
    seconds = figures["stages"]["network"]["median_ms"] / 1e3
    return {
        "product": 2e-9 * figures["macs"] * figures["batch"] / seconds / peak["product_gflops"],
        "copy": 4e-9 * figures["parameters"] / seconds / peak["copy_gb_s"],
    }


def peak() -> dict[str, float]:
    """Measure what the machine can do: a product of float32 matrices of 1024², and a copy of 64 MB; the best of 8."""
    rng = np.random.default_rng(0)
    left, right = rng.random((2, 1024, 1024), np.float32)
    source = rng.random(1 << 24, np.float32)
    product, target = np.empty_like(left), np.empty_like(source)
    multiply = _fastest(lambda: np.matmul(left, right, out=product))
    copy = _fastest(lambda: np.copyto(target, source))
    return {"product_gflops": 2e-9 * 1024**3 / multiply, "copy_gb_s": 1e-9 * source.nbytes / copy}


def machine(threads: int) -> dict[str, Any]:
    """Return what the times depend on: processor, cores, threads, GPU, system, versions."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": _processor(),
        "cores": cores,
        "threads": threads,
        "gpu": _gpu(),
        "system": platform.platform(terse=True),
        "versions": {"tctrack": __version__, "python": platform.python_version(), **dict(_versions())},
    }


def peak_memory(contender: Contender, frames: Sequence[Frame], box: Sequence[float]) -> float:
    """Return the most memory, in MB, that a process of its own takes to build a contender and to track with it.

    Args:
        contender: what is measured.
        frames: the first, and the others to track in.
        box: the target in the first frame.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as alone:
        return alone.submit(_track_alone, contender.make, contender.batch, frames, box).result()


def _track_alone(make: Callable[[], OnlineTracker], batch: int, frames: Sequence[Frame], box: Sequence[float]) -> float:
    contender = Contender(make, batch)
    contender.start(frames[0], box)
    for frame in frames[1:]:
        contender.update(frame)
    status = Path("/proc/self/status")
    if status.is_file():  # what getrusage says on Linux is no less than the parent process had
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most * (1 if sys.platform == "darwin" else 1024) / 1e6


def _sum(stages: Mapping[str, FloatArray], names: Iterable[str]) -> FloatArray:
    total: FloatArray = np.sum([stages[name] for name in names if name in stages], axis=0)
    return total


def _spread(times: FloatArray) -> dict[str, float]:
    ms = 1e3 * times
    median, p95, p99 = np.percentile(ms, (50, 95, 99)).tolist()
    jitter = float(np.abs(np.diff(ms)).mean())
    return {"median_ms": median, "p95_ms": p95, "p99_ms": p99, "mean_ms": float(ms.mean()), "jitter_ms": jitter}


def _fastest(action: Callable[[], object], repeats: int = 8) -> float:
    times = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        action()
        times.append(time.perf_counter() - began)
    return min(times[1:])


def _processor() -> str:
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.is_file() else []
    named = [line.partition(":")[2].strip() for line in lines if line.lower().startswith(("model name", "hardware"))]
    return named[0] if named else platform.processor() or platform.machine()


def _gpu() -> str | None:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    try:
        asked = subprocess.run([tool, "--query-gpu=name", "--format=csv,noheader"], capture_output=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return ", ".join(asked.stdout.decode(errors="replace").split("\n")).strip(", ") if not asked.returncode else None


def _versions() -> Iterable[tuple[str, str]]:
    for package in _PACKAGES:
        try:
            yield package, metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
