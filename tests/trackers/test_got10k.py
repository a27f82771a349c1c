from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("got10k", reason="the benchmark extra is not installed")

from PIL import Image

from tctrack.types import Box, Frame, TrackResult
from tests.clips import SIDE, square_box, square_frames
from trackers.got10k import Got10kTracker


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("frames")
    paths = [str(folder / f"{index:04d}.png") for index in range(6)]
    for path, frame in zip(paths, square_frames(6), strict=True):
        Image.fromarray(frame[..., ::-1]).save(path)
    return paths


class Seer:
    """Finds the square by its red, which is the last channel of BGR."""

    def init(self, frame: Frame, box: Sequence[float]) -> None:
        assert tuple(box) == square_box(0) == self.update(frame).box

    def update(self, frame: Frame) -> TrackResult:
        assert frame.flags.c_contiguous
        rows, columns = np.nonzero(frame[..., 2] == 255)
        return TrackResult(Box(columns.min(), rows.min(), SIDE, SIDE))

    def reset(self) -> None: ...


def test_the_toolkit_hands_over_its_images_and_takes_our_boxes(
    files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trackers.got10k.build_tracker", lambda name: Seer())
    tracker = Got10kTracker("seer")
    boxes, _ = tracker.track(files, np.array(square_box(0)))
    np.testing.assert_array_equal(boxes, [square_box(index) for index in range(6)])
    assert (tracker.name, tracker.is_deterministic) == ("seer", True)


def test_an_experiment_writes_result_files(files: list[str], tmp_path: Path) -> None:
    from got10k.experiments import ExperimentOTB

    experiment = ExperimentOTB.__new__(ExperimentOTB)
    experiment.dataset = type("OneSequence", (list,), {"seq_names": ["square"]})(
        [(files, np.array([square_box(index) for index in range(6)]))]
    )
    experiment.result_dir, experiment.nbins_iou = str(tmp_path), 21
    experiment.run(Got10kTracker("static"))
    boxes = np.loadtxt(tmp_path / "static" / "square.txt", delimiter=",")
    np.testing.assert_allclose(boxes, [square_box(0)] * 6)
