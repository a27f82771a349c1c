"""Latency-aware evaluation: the accuracy of a tracker that frames do not wait for.

Frames arrive at a fixed rate. The tracker takes the newest frame whenever it is free, skipping those it missed, and
every ground-truth frame is scored with the newest result that was finished when the frame arrived (Li et al.,
"Towards streaming perception", ECCV 2020; Li et al., "PVT++", for aerial tracking; TCTrack++, online evaluation).
Before the first result the given box stands. The tracker's initialisation takes time like any other frame.

Time is a computed clock that advances by the tracker's latencies, so decoding of frames is not counted against it. The
latencies are measured, or given, which makes a run repeatable on any machine.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from tctrack.benchmark.results import Run
from tctrack.errors import ConfigError
from tctrack.types import Frame, OnlineTracker

#: Instants closer than this many seconds are the same; absorbs the rounding of 1/fps.
_TICK = 1e-9

#: Seconds a frame takes: the same for all, one for each frame of the sequence, or None to measure them.
Latency = float | Sequence[float] | None


def track(tracker: OnlineTracker, frames: Iterable[Frame], box: Sequence[float]) -> Run:
    """Follow a target through every frame; the first box is the given one."""
    boxes, seconds = [], []
    for index, frame in enumerate(frames):
        found, taken = _step(tracker, frame, box, index)
        boxes.append(found)
        seconds.append(taken)
    return Run(np.array(boxes, np.float64), np.array(seconds))


def track_in_real_time(
    tracker: OnlineTracker, frames: Iterable[Frame], box: Sequence[float], fps: float, latency: Latency = None
) -> Run:
    """Follow a target through frames that arrive ``fps`` times a second.

    Returns the box that was known at each frame, and the seconds spent on each: 0 for the frames that were skipped.
    Running again with ``latency`` set to those seconds gives the same boxes.

    Raises:
        ConfigError: the rate is not positive, or a latency is negative or missing.
    """
    if not fps > 0:
        raise ConfigError(f"a rate of {fps:g} frames a second is not positive")
    results = [np.asarray(box, np.float64)]
    finished = [0.0]
    clock, seconds = 0.0, []
    for index, frame in enumerate(frames):
        seconds.append(0.0)
        if newest_frame(clock, fps) > index:
            continue
        found, taken = _step(tracker, frame, box, index)
        taken = _latency_of(latency, index, taken)
        clock = max(clock, index / fps) + taken
        results.append(found)
        finished.append(clock)
        seconds[-1] = taken
    return Run(np.array(results)[newest_results(finished, len(seconds), fps)], np.array(seconds))


def newest_frame(clock: float, fps: float) -> int:
    """Return the index of the newest frame that has arrived at an instant in seconds."""
    return math.floor((clock + _TICK) * fps)


def newest_results(finished: Sequence[float], frames: int, fps: float) -> NDArray[np.intp]:
    """Return for each frame the index of the newest result, given the instants at which results were finished."""
    arrivals = np.arange(frames) / fps + _TICK
    return np.searchsorted(np.asarray(finished), arrivals, side="right") - 1


def _step(tracker: OnlineTracker, frame: Frame, box: Sequence[float], index: int) -> tuple[NDArray[np.float64], float]:
    start = perf_counter()
    if index == 0:
        tracker.init(frame, box)
        found = box
    else:
        found = tracker.update(frame).box
    return np.asarray(found, np.float64), perf_counter() - start


def _latency_of(latency: Latency, index: int, measured: float) -> float:
    if latency is None:
        return measured
    try:
        value = float(latency if isinstance(latency, (int, float)) else latency[index])
    except IndexError:
        raise ConfigError(f"there are {len(latency)} latencies, none for frame {index}") from None  # type: ignore[arg-type]
    if not value >= 0:
        raise ConfigError(f"the latency of frame {index} is {value:g} s; it cannot be negative")
    return value
