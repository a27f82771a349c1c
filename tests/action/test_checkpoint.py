"""Files of video classifiers, and the keys of the released ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tctrack.action import build_action_model
from tctrack.action.checkpoint import load_classifier, save_classifier
from tctrack.checkpoint import Checkpoint, write_checkpoint
from tctrack.errors import CheckpointError


def test_classifier_comes_back_as_it_went(tmp_path: Path) -> None:
    model = build_action_model("tsn_r50", (3, 2)).eval()
    save_classifier(tmp_path / "a.safetensors", "tsn_r50", model, clip={"frames": 4}, classes=list("abcde"))
    loaded = load_classifier(tmp_path / "a.safetensors")
    assert loaded.model.num_classes == (3, 2)
    assert loaded.classes == list("abcde")
    assert not loaded.model.training
    clip = torch.randn(1, 3, 1, 32, 32)
    torch.testing.assert_close(loaded.model(clip), model(clip))


@pytest.mark.parametrize("nest", ["model_state", "state_dict"])
def test_released_files_load_by_their_keys(tmp_path: Path, nest: str) -> None:
    model = build_action_model("tada2d_r50", 7)
    state = {f"module.{key}": value for key, value in model.state_dict().items()}
    torch.save({"epoch": 64, nest: state}, tmp_path / "r.pth")
    loaded = load_classifier("tada2d_r50", tmp_path / "r.pth")
    assert loaded.model.num_classes == (7,)
    assert loaded.classes is None
    with pytest.raises(CheckpointError, match="names no video classifier"):
        load_classifier(tmp_path / "r.pth")
    with pytest.raises(CheckpointError, match="the shape of"):
        load_classifier("tsn_r50", tmp_path / "r.pth")


def test_wrong_names_are_told(tmp_path: Path) -> None:
    save_classifier(tmp_path / "a.safetensors", "tsn_r50", build_action_model("tsn_r50", 3), clip={})
    with pytest.raises(CheckpointError, match="holds 'tsn_r50', not 'r3d_r50'"):
        load_classifier("r3d_r50", tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match="did you mean 'tada2d_r50'"):
        load_classifier("tada2d_r5", tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=r"no shipped weights.*train-action --config action/.* model=tsn_r50"):
        load_classifier("tsn_r50")


def test_other_files_are_told(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "x.safetensors", Checkpoint({"a": torch.zeros(1)}, {"architecture": "tctrack"}))
    with pytest.raises(CheckpointError, match="names no video classifier"):
        load_classifier(tmp_path / "x.safetensors")
