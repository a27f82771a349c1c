"""Engines: one interface, several targets in one batch, clear errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tctrack.cli import main
from tctrack.engines import load_engine
from tctrack.engines.base import ModelInfo, describe, described
from tctrack.engines.torch import TorchEngine, count, flatten, unflatten
from tctrack.errors import CheckpointError, ConfigError
from tctrack.models.build import build_model
from tctrack.settings import TrackerSettings
from tests.clips import square_box, square_frames, write_video
from tests.published import tiny_model
from trackers.siamese import SiameseTracker


@pytest.mark.parametrize("name", ["tctrack", "tctrack++"])
def test_targets_share_a_batch(name: str) -> None:
    tracker = SiameseTracker(TorchEngine(tiny_model(name)))
    first, *frames = square_frames(4)
    boxes = [np.add(square_box(0), (shift, shift, 0, 0)) for shift in (0, 3, 6)]
    together = [tracker.start(first, box) for box in boxes]
    alone = list(together)
    for frame in frames:
        pairs = tracker.step_many(frame, together)
        together = [state for _, state in pairs]
        for n, state in enumerate(alone):
            result, alone[n] = tracker.step(frame, state)
            assert result.box == pytest.approx(pairs[n][0].box, abs=1e-3)
    assert tracker.step_many(frames[0], []) == []


def test_states_are_flattened_in_order() -> None:
    model = tiny_model("tctrack")
    crops = (torch.zeros(2, 3, side, side) for side in (model.config.template_size, model.config.search_size))
    state = model.start(*crops)
    again = unflatten(flatten(state))
    assert type(again) is type(state)
    assert all(torch.equal(a, b) for a, b in zip(flatten(again), flatten(state), strict=True))


def test_graphs_describe_their_network() -> None:
    info = ModelInfo("tctrack", 127, 287, TrackerSettings(0.1, 0.4, 0.3))
    assert described(describe(info, 4), "here") == (info, 4)
    for text in ("", "null", "{}", '{"model": {}, "batch": 1}'):
        with pytest.raises(CheckpointError, match="'here' does not describe"):
            described(text, "here")


def test_parameters_and_multiply_adds_are_counted() -> None:
    parameters, macs = count(build_model("tctrack-lite").eval())
    assert parameters == pytest.approx(0.963e6, rel=0.01)
    assert 1.4e8 < macs < 3e8


def test_what_an_engine_cannot_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown engine 'onyx'; did you mean 'onnx'"):
        load_engine("tctrack-lite", engine="onyx")
    with pytest.raises(ConfigError, match="tctrack export --model tctrack --format openvino"):
        load_engine("tctrack", engine="openvino")
    (tmp_path / "step.onnx").write_bytes(b"no graph")
    (tmp_path / "start.onnx").write_bytes(b"no graph")
    with pytest.raises(CheckpointError, match="ONNX Runtime cannot read"):
        load_engine(tmp_path)
    with pytest.raises(ConfigError, match="--engine compiled cannot run"):
        load_engine(tmp_path, engine="compiled")


def test_the_command_names_the_engine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video, found = write_video(tmp_path / "clip.mp4", 4), []
    box = ",".join(map(str, square_box(0)))
    for engine in ("auto", "onnx", "torch"):
        path = tmp_path / f"{engine}.txt"
        assert main(["track", str(video), "--box", box, "--engine", engine, "--boxes", str(path)]) == 0
        found.append(np.loadtxt(path, delimiter=","))
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_allclose(found[0], found[2], atol=0.1)
    assert main(["track", str(video), "--box", box, "--engine", "onyx", "--boxes", str(tmp_path / "b.txt")]) == 2
    assert "unknown engine 'onyx'" in capsys.readouterr().err
