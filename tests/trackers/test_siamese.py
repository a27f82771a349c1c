from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest

from tctrack.engines.torch import TorchEngine
from tctrack.errors import BoxError, CheckpointError, ConfigError, SourceError
from tctrack.models.build import MODELS
from tctrack.training.recipes import RECIPES
from tctrack.types import Frame, TrackResult
from tests.published import GOLDEN_BOX, GOLDEN_TRACKING, NETWORKS, make_frame, published_model, tiny_model
from trackers import TRACKERS, Tracker, build_tracker
from trackers.siamese import MIN_SIDE, SiameseTracker

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(params=NETWORKS)
def tracker(request: pytest.FixtureRequest) -> SiameseTracker:
    return SiameseTracker(TorchEngine(tiny_model(request.param)))


def follow(tracker: Tracker, frames: list[Frame], box: tuple[float, ...] = GOLDEN_BOX) -> list[TrackResult]:
    tracker.init(frames[0], box)
    return [tracker.update(frame) for frame in frames[1:]]


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    return [make_frame(t) for t in range(9)]


@pytest.fixture(scope="module", params=NETWORKS)
def published_run(request: pytest.FixtureRequest, frames: list[Frame]) -> tuple[str, np.ndarray, np.ndarray]:
    results = follow(SiameseTracker(TorchEngine(published_model(request.param)), GOLDEN_TRACKING), frames)
    return NETWORKS[request.param], np.array([r.box for r in results]), np.array([r.score for r in results])


@pytest.mark.data
def test_the_published_boxes(published_run: tuple[str, np.ndarray, np.ndarray], shared: Path) -> None:
    name, boxes, scores = published_run
    with np.load(shared / "golden" / f"{name}.npz") as golden:
        np.testing.assert_allclose(boxes, golden["boxes"], rtol=0, atol=0.02)
        np.testing.assert_allclose(scores, golden["scores"], rtol=0, atol=1e-4)


def test_the_recorded_boxes(published_run: tuple[str, np.ndarray, np.ndarray]) -> None:
    """Keeps the boxes where they are without the research data; TCTRACK_ACCEPT=1 records them anew."""
    name, boxes, scores = published_run
    path = GOLDEN / f"{name}_boxes.npz"
    if os.environ.get("TCTRACK_ACCEPT"):
        np.savez(path, boxes=boxes, scores=scores)
    with np.load(path) as golden:
        np.testing.assert_allclose(boxes, golden["boxes"], rtol=0, atol=0.02)
        np.testing.assert_allclose(scores, golden["scores"], rtol=0, atol=1e-4)


def test_reset_and_replay_is_identical(tracker: SiameseTracker, frames: list[Frame]) -> None:
    first = follow(tracker, frames)
    tracker.reset()
    assert follow(tracker, frames) == first
    assert len({result.box for result in first}) == len(first)


def test_interleaved_targets_share_a_network(tracker: SiameseTracker, frames: list[Frame]) -> None:
    boxes = (GOLDEN_BOX, (60.0, 200.0, 30.0, 50.0))
    alone = [follow(tracker, frames, box) for box in boxes]
    pair = [SiameseTracker(tracker.engine), SiameseTracker(tracker.engine)]
    for one, box in zip(pair, boxes, strict=True):
        one.init(frames[0], box)
    together = [[one.update(frame) for one in pair] for frame in frames[1:]]
    assert [list(results) for results in zip(*together, strict=True)] == alone


def test_a_state_can_be_stepped_twice(tracker: SiameseTracker, frames: list[Frame]) -> None:
    state = tracker.start(frames[0], GOLDEN_BOX)
    result, _ = tracker.step(frames[1], state)
    tracker.step(frames[5], state)
    assert tracker.step(frames[1], state)[0] == result


@pytest.mark.parametrize(
    "box", [(-20, -20, 40, 40), (470, 350, 30, 30), (100, 100, 1, 0.2), (0, 0, 480, 360), (-400, -400, 1500, 1500)]
)
def test_awkward_boxes_stay_in_bounds(
    tracker: SiameseTracker, frames: list[Frame], box: tuple[float, float, float, float]
) -> None:
    for result in follow(tracker, frames, box):
        x, y, w, h = result.box
        assert np.isfinite(result.box).all()
        assert 0 <= x + w / 2 <= 480
        assert 0 <= y + h / 2 <= 360
        assert min(MIN_SIDE, box[2]) <= w <= 480
        assert min(MIN_SIDE, box[3]) <= h <= 360


def test_targets_below_the_least_side_can_be_boxed(frames: list[Frame]) -> None:
    model = tiny_model("tctrack")
    still = SiameseTracker(TorchEngine(model), dataclasses.replace(GOLDEN_TRACKING, lr=0.0))
    assert {(result.box.w, result.box.h) for result in follow(still, frames, (200, 150, 5, 7))} == {(5, 7)}


def test_settings_can_be_overridden(frames: list[Frame]) -> None:
    model = tiny_model("tctrack")
    still = build_tracker("tctrack", model=model, lr=0.0)
    moving = build_tracker("tctrack", model=model, lr=0.9)
    assert {(r.box.w, r.box.h) for r in follow(still, frames)} == {(61.0, 41.0)}
    assert len({r.box.w for r in follow(moving, frames)}) > 1


def test_a_setting_that_is_none_is_named() -> None:
    with pytest.raises(ConfigError, match="unknown key 'penalty'; did you mean 'penalty_k'"):
        build_tracker("tctrack", model=tiny_model("tctrack"), penalty=0.1)


def test_every_network_has_a_tracker_and_a_recipe() -> None:
    assert set(MODELS) <= set(TRACKERS)
    assert set(MODELS) == set(RECIPES)


def test_update_needs_init(tracker: SiameseTracker, frames: list[Frame]) -> None:
    with pytest.raises(RuntimeError, match="call init"):
        tracker.update(frames[0])
    follow(tracker, frames[:2])
    tracker.reset()
    with pytest.raises(RuntimeError, match="call init"):
        tracker.update(frames[0])


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((360, 480), np.uint8),
        np.zeros((360, 480, 4), np.uint8),
        np.full((360, 480, 3), np.nan, np.float32),
    ],
)
def test_frames_that_are_no_images(tracker: SiameseTracker, frames: list[Frame], frame: Frame) -> None:
    with pytest.raises(SourceError, match="uint8 in BGR order"):
        tracker.init(frame, GOLDEN_BOX)
    tracker.init(frames[0], GOLDEN_BOX)
    with pytest.raises(SourceError, match="uint8 in BGR order"):
        tracker.update(frame)


def test_a_video_that_changes_its_size(tracker: SiameseTracker, frames: list[Frame]) -> None:
    tracker.init(frames[0], GOLDEN_BOX)
    with pytest.raises(SourceError, match="240x180, but tracking began at 480x360"):
        tracker.update(np.ascontiguousarray(frames[1][::2, ::2]))


def test_a_box_outside_the_frame(tracker: SiameseTracker, frames: list[Frame]) -> None:
    with pytest.raises(BoxError, match="outside"):
        tracker.init(frames[0], (500, 10, 20, 20))


def test_untrained_networks_are_not_tracked_with() -> None:
    with pytest.raises(CheckpointError, match="pass weights=FILE"):
        build_tracker("tctrack++")
