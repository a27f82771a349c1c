"""Timing does not change what is timed, and its figures add up."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest

from tctrack.engines.torch import TorchEngine
from tctrack.errors import SourceError
from tctrack.video import VideoSink, open_source
from tests.clips import HEIGHT, WIDTH, square_box, square_frames, write_video
from tests.published import tiny_model
from trackers import build_tracker
from trackers.profiling import STAGES, UPDATE, Contender, compare, peak_memory, race, shares, summarize
from trackers.siamese import SiameseTracker


def test_a_timed_tracker_tracks_as_ever() -> None:
    tracker = SiameseTracker(TorchEngine(tiny_model("tctrack")))
    pair = Contender(lambda: tracker, 2)
    first, *frames = square_frames(4)
    tracker.init(first, square_box(0))
    pair.start(first, square_box(0))
    for frame in frames:
        result, seconds = pair.update(frame)
        assert result.box == pytest.approx(tracker.update(frame).box, abs=1e-3)
        assert set(seconds) == set(UPDATE)
        assert min(seconds.values()) >= 0
        assert seconds["network"] > 0


def test_all_race_through_the_same_frames(tmp_path: Path) -> None:
    video = write_video(tmp_path / "clip.mp4", 12)
    contenders = [Contender(functools.partial(build_tracker, "static"), batch, f"x{batch}") for batch in (1, 3)]
    with open_source(video) as source, VideoSink(tmp_path / "out.mp4", (WIDTH, HEIGHT)) as sink:
        times = race(contenders, source, square_box(0), sink, warm_up=4)
    assert sink.count == 11
    assert list(times) == ["x1", "x3"]
    for stages in times.values():
        assert list(stages) == ["decode", "other", "draw", "write"]
        assert {len(seconds) for seconds in stages.values()} == {7}
    assert np.array_equal(times["x1"]["decode"], times["x3"]["decode"])
    with (
        open_source(video) as source,
        VideoSink(tmp_path / "out.mp4", (WIDTH, HEIGHT)) as sink,
        pytest.raises(SourceError, match="too few frames"),
    ):
        race(contenders, source, square_box(0), sink, warm_up=10)


def test_stages_add_up_to_the_total() -> None:
    rng = np.random.default_rng(0)
    figures = summarize({stage: rng.uniform(1e-3, 9e-3, 50) for stage in STAGES})
    means = sum(times["mean_ms"] for times in figures["stages"].values())
    assert means == pytest.approx(figures["total"]["mean_ms"])
    assert figures["update"]["mean_ms"] < means


def test_the_figures_are_those_of_the_times() -> None:
    update = np.array([10.0, 20.0, 10.0, 20.0, 10.0]) / 1e3
    figures = summarize({"decode": np.full(5, 0.01), "other": update, "draw": np.zeros(5), "write": np.zeros(5)})
    assert figures["stages"]["other"] == pytest.approx(
        {"median_ms": 10, "p95_ms": 20, "p99_ms": 20, "mean_ms": 14, "jitter_ms": 10}
    )
    assert figures["fps"] == pytest.approx({"without_decoding": 100, "with_decoding": 50})
    slow = {"other": 2 * update, "decode": np.ones(5)}
    assert compare(slow, {"other": update}) == pytest.approx({"median": 2, "p5": 2, "p95": 2})


def test_shares_of_the_peak() -> None:
    figures = {"batch": 2, "parameters": 1_000_000, "macs": 500_000_000, "stages": {"network": {"median_ms": 10.0}}}
    found = shares(figures, {"product_gflops": 400.0, "copy_gb_s": 4.0})
    assert found == pytest.approx({"product": 0.5, "copy": 0.1})
    assert shares({**figures, "parameters": None}, {}) == {}


def test_memory_is_that_of_a_process_of_its_own() -> None:
    contender = Contender(functools.partial(build_tracker, "static"))
    held = np.ones(200_000_000, np.uint8)  # by this process
    assert 10 < peak_memory(contender, square_frames(3), square_box(0)) < held.nbytes / 1e6 + 100
