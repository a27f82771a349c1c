from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tctrack.errors import BoxError, ConfigError, DependencyError, SourceError
from tctrack.geometry.boxes import iou
from tctrack.video import open_source
from tests.clips import HEIGHT, WIDTH, square_box, square_frames
from trackers import TRACKERS, Tracker, build_tracker


@pytest.fixture(params=["mil", "static"])
def tracker(request: pytest.FixtureRequest) -> Tracker:
    return build_tracker(request.param)


def follow(tracker: Tracker, count: int = 12) -> np.ndarray:
    frames = square_frames(count)
    tracker.init(frames[0], square_box(0))
    return np.array([tracker.update(frame).box for frame in frames[1:]])


def test_protocol(tracker: Tracker) -> None:
    assert isinstance(tracker, Tracker)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="call init"):
            tracker.update(square_frames(1)[0])
        follow(tracker, 2)
        tracker.reset()


def test_mil_follows() -> None:
    """MIL is random; it stays within 15 px of a square that travels 65 px."""
    true = np.array([square_box(index) for index in range(1, 30)])
    offset = (follow(build_tracker("mil"), 30) - true)[:, :2]
    assert np.linalg.norm(offset, axis=1).max() < 30


def test_static_stays() -> None:
    assert (follow(build_tracker("static")) == square_box(0)).all()


@pytest.mark.parametrize("box", [(0, 0, 0, 5), (1, 2, np.nan, 4), (WIDTH, 0, 5, 5), (1, 2, 3)])
def test_boxes_without_a_target(tracker: Tracker, box: tuple[float, ...]) -> None:
    with pytest.raises(BoxError):
        tracker.init(square_frames(1)[0], box)


@pytest.mark.parametrize(
    "box",
    [(50, 50, 1, 0.5), (-40, -40, 42, 42), (WIDTH - 1, HEIGHT - 1, 40, 40), (-9, 5, 500, 20)],
)
def test_awkward_boxes_are_tracked(tracker: Tracker, box: tuple[float, ...]) -> None:
    """OpenCV's MIL aborts, or never returns, on each of these."""
    first, second = square_frames(2)
    tracker.init(first, box)
    assert np.isfinite(tracker.update(second).box).all()


def test_mil_needs_ground_around_the_target() -> None:
    with pytest.raises(BoxError, match="OpenCV cannot start"):
        build_tracker("mil").init(square_frames(1)[0], (0, 0, WIDTH, HEIGHT))


def test_a_loss_repeats_the_last_box() -> None:
    from trackers.opencv import OpenCVTracker

    class Loser:
        def init(self, *_: object) -> None: ...

        def update(self, _: object) -> tuple[bool, tuple[int, ...]]:
            return False, (0, 0, 0, 0)

    tracker = OpenCVTracker(Loser)
    frame = square_frames(1)[0]
    tracker.init(frame, (10.5, 20.5, 30, 40))
    assert tracker.update(frame) == ((10.5, 20.5, 30, 40), None, "lost", None)


@pytest.mark.parametrize("name", ["csrt", "kcf"])
def test_contrib_trackers(name: str) -> None:
    if hasattr(cv2, f"Tracker{name.upper()}_create"):
        assert len(follow(build_tracker(name))) == 11
    else:
        with pytest.raises(DependencyError, match="opencv-contrib-python"):
            build_tracker(name)


def test_nano_without_its_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs its ONNX files"):
        build_tracker("nano")
    with pytest.raises(DependencyError, match=r"one file \*backbone\*\.onnx, and holds 0"):
        build_tracker("nano", weights=tmp_path)
    for part in ("backbone", "head"):
        (tmp_path / f"{part}.onnx").write_text("no network")
    with pytest.raises(DependencyError, match="cannot read NanoTrack from"):
        build_tracker("nano", weights=tmp_path)
    with pytest.raises(DependencyError, match="cannot read NanoTrack from"):
        build_tracker("nano", backbone=tmp_path / "a.onnx", head=tmp_path / "b.onnx")


@pytest.mark.data
def test_nano_follows_a_car(shared: Path) -> None:
    folder = shared / "data"
    tracker = build_tracker("nano", weights=folder / "peers" / "nanotrackv2")
    path = folder / "videos" / "UAV123_10fps_car14.mp4"
    true = np.loadtxt(path.with_suffix(".txt"), delimiter=",", max_rows=30)
    frames = iter(open_source(path, frames=30))
    tracker.init(next(frames), true[0])
    results = [tracker.update(frame) for frame in frames]
    assert iou([result.box for result in results], true[1:]).mean() > 0.6
    assert all(result.score is not None and 0.5 < result.score <= 1 for result in results)


def test_names_are_listed_and_mistakes_explained() -> None:
    assert {"mil", "nano", "csrt", "kcf", "static", "tctrack-lite", "tctrack", "tctrack++"} <= set(TRACKERS)
    with pytest.raises(ConfigError, match="unknown tracker 'mill'; did you mean 'mil'"):
        build_tracker("mill")
    with pytest.raises(ConfigError, match="tracker 'mil': got an unexpected keyword argument 'colour'"):
        build_tracker("mil", colour=1)


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(__import__("sys").modules, "trackers.opencv", raising=False)
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    with pytest.raises(DependencyError, match=r"cannot import cv2 .*pip install '\.\[headless\]'"):
        build_tracker("mil")


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (None, "is the video at its end"),
        (np.zeros((HEIGHT, WIDTH), np.uint8), "must be"),
        (np.full((HEIGHT, WIDTH, 3), np.nan), "must be"),
        (np.zeros((9, 9, 3), np.uint8), "the frame is 9x9, but tracking began at"),
    ],
)
def test_other_frames_are_refused(tracker: Tracker, frame: Any, message: str) -> None:
    follow(tracker, 2)
    with pytest.raises(SourceError, match=message):
        tracker.update(frame)


def test_mil_has_no_score() -> None:
    tracker = build_tracker("mil")
    frames = square_frames(2)
    tracker.init(frames[0], square_box(0))
    assert tracker.update(frames[1]).score is None
