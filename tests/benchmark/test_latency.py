from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from tctrack.benchmark.latency import newest_results, track, track_in_real_time
from tctrack.errors import ConfigError
from tctrack.types import Box, Frame, TrackResult

BOX = (10.0, 10.0, 4.0, 4.0)


def numbered_frames(count: int) -> Iterator[Frame]:
    for number in range(count):
        yield np.full((2, 2, 3), number, np.uint8)


class Counter:
    """Answers the number of the frame it saw, and how often it was asked: both show which frames it was given."""

    def __init__(self, sleep: float = 0) -> None:
        self._sleep, self.seen = sleep, [0]

    def init(self, frame: Frame, box: Sequence[float]) -> None:
        time.sleep(self._sleep)

    def update(self, frame: Frame) -> TrackResult:
        time.sleep(self._sleep)
        self.seen.append(int(frame[0, 0, 0]))
        return TrackResult(Box(self.seen[-1], len(self.seen), 1, 1))


def test_no_latency_equals_offline() -> None:
    offline = track(Counter(), numbered_frames(40), BOX)
    online = track_in_real_time(Counter(), numbered_frames(40), BOX, fps=30, latency=0)

    np.testing.assert_array_equal(online.boxes, offline.boxes)


def test_50_ms_at_30_fps_by_hand() -> None:
    """Frames arrive at 0, 33, 67, 100, 133, 167, 200, 233, 267 and 300 ms.

    Frame 0 keeps the tracker busy until 50 ms; then 1 is newest (until 100), 3 (until 150), 4 (until 200), 6 (until
    250), 7 (until 300), and 9. Each frame is scored with the newest result that is finished when it arrives.
    """
    tracker = Counter()

    run = track_in_real_time(tracker, numbered_frames(10), BOX, fps=30, latency=0.05)

    assert tracker.seen == [0, 1, 3, 4, 6, 7, 9]
    matched = [box[0] if tuple(box) != BOX else 0 for box in run.boxes.tolist()]
    assert matched == [0, 0, 0, 1, 1, 3, 4, 4, 6, 7]
    assert run.seconds is not None
    assert (run.seconds > 0).tolist() == [True, True, False, True, True, False, True, True, False, True]


def test_a_fast_tracker_is_one_frame_late() -> None:
    run = track_in_real_time(Counter(), numbered_frames(10), BOX, fps=10, latency=0.04)

    assert run.boxes[1].tolist() == list(BOX)
    assert run.boxes[2:, 0].tolist() == [1, 2, 3, 4, 5, 6, 7, 8]


def test_slower_than_the_sequence_leaves_the_given_box() -> None:
    run = track_in_real_time(Counter(), numbered_frames(10), BOX, fps=30, latency=10)

    assert run.boxes.tolist() == [list(BOX)] * 10


def test_measured_run_equals_the_simulation_of_its_own_times() -> None:
    measured = track_in_real_time(Counter(sleep=0.004), numbered_frames(60), BOX, fps=400)
    assert measured.seconds is not None

    simulated = track_in_real_time(Counter(), numbered_frames(60), BOX, fps=400, latency=measured.seconds.tolist())

    assert (measured.seconds == 0).any(), "the tracker must have missed frames"
    np.testing.assert_array_equal(simulated.boxes, measured.boxes)
    np.testing.assert_array_equal(simulated.seconds, measured.seconds)


def test_newest_result_counts_on_the_very_instant() -> None:
    assert newest_results([0, 1 / 30, 3 / 30], 4, fps=30).tolist() == [0, 1, 1, 2]


@pytest.mark.parametrize(
    ("fps", "latency", "words"),
    [(0, 0.1, "rate"), (float("nan"), 0.1, "rate"), (30, -1, "negative"), (30, [0.01], "none for frame 1")],
)
def test_impossible_times_are_refused(fps: float, latency: float | list[float], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        track_in_real_time(Counter(), numbered_frames(10), BOX, fps, latency)
