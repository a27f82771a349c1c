from __future__ import annotations

import json

import torch

from tctrack.checkpoint import read_checkpoint
from tctrack.checkpoint.load import SHIPPED, load_model

FILE = SHIPPED / "tctrack-lite.safetensors"


def test_the_shipped_weights_are_small_and_say_what_they_are() -> None:
    assert FILE.stat().st_size < 4e6
    tensors, metadata = read_checkpoint(FILE)
    assert all(tensor.dtype == torch.float16 for tensor in tensors.values() if tensor.is_floating_point())
    assert metadata["architecture"] == "tctrack-lite"
    assert json.loads(metadata["config"])["use_memory"]


def test_the_temporal_parts_are_trained() -> None:
    model = load_model("tctrack-lite")
    calibrations = [value for key, value in model.state_dict().items() if key.endswith("temporalconv.2.weight")]
    assert len(calibrations) == 3
    assert all(weight.abs().max() > 1e-2 for weight in calibrations)


def test_they_load_as_float32() -> None:
    assert next(load_model("tctrack-lite").parameters()).dtype == torch.float32
