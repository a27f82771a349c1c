from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from tctrack.checkpoint import read_checkpoint
from tctrack.checkpoint.load import load_model
from tctrack.engines import load_engine
from tctrack.errors import CheckpointError
from tctrack.files import SHIPPED, check_shipped

FILE = SHIPPED / "tctrack-lite.safetensors"


@pytest.mark.parametrize(("name", "most"), [("tctrack-lite", 4e6), ("tctrack-nano", 1.2e6)])
def test_the_shipped_weights_are_small_and_say_what_they_are(name: str, most: float) -> None:
    file = SHIPPED / f"{name}.safetensors"
    assert file.stat().st_size < most
    tensors, metadata = read_checkpoint(file)
    assert all(tensor.dtype == torch.float16 for tensor in tensors.values() if tensor.is_floating_point())
    assert metadata["architecture"] == name
    assert json.loads(metadata["config"])["use_memory"]


def test_they_are_held_to_their_checksums(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [line.split()[1] for line in (SHIPPED / "SHA256SUMS").read_text().splitlines()]
    there = (path for suffix in ("safetensors", "onnx") for path in SHIPPED.rglob(f"*.{suffix}"))
    assert set(names) == {path.relative_to(SHIPPED).as_posix() for path in there}
    for name in names:
        check_shipped(SHIPPED / name)
    shutil.copytree(SHIPPED, tmp_path / "weights")
    other = tmp_path / "weights" / FILE.name
    other.write_bytes(FILE.read_bytes()[:-1] + b"x")
    monkeypatch.setattr("tctrack.checkpoint.load.SHIPPED", other.parent)
    with pytest.raises(CheckpointError, match="is not the file that was shipped"):
        load_model("tctrack-lite")
    graph = other.parent / "tctrack-lite/step.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"x")
    monkeypatch.setattr("tctrack.engines.load.SHIPPED", other.parent)
    with pytest.raises(CheckpointError, match="is not the file that was shipped"):
        load_engine("tctrack-lite")


@pytest.mark.parametrize(("name", "blocks"), [("tctrack-lite", 2), ("tctrack-nano", 2)])
def test_the_temporal_parts_are_trained(name: str, blocks: int) -> None:
    state = load_model(name).state_dict()
    calibrations = [value for key, value in state.items() if key.endswith("temporalconv.2.weight")]
    assert len(calibrations) == blocks
    assert all(weight.abs().max() > 1e-2 for weight in calibrations)


def test_they_load_as_float32() -> None:
    assert next(load_model("tctrack-lite").parameters()).dtype == torch.float32
