"""Reading, writing and converting checkpoints; whatever is wrong with a file is one clear error."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import tctrack
from tctrack.checkpoint import Checkpoint, pick_device, read_checkpoint, write_checkpoint
from tctrack.checkpoint.load import convert_file, save_model
from tctrack.errors import CheckpointError, DependencyError, OutputError
from tctrack.models.build import build_model
from tests.published import NETWORKS, make_weight, published_model, tiny_model

UNUSED = {
    "tctrack": ["grader.transformer.encoder.layers.0.norm0.weight"],
    "tctrack++": ["grader.conv.0.weight", "grader.transformer.decoder.layers.1.multihead_attn2.in_proj_bias"],
}


@pytest.fixture(scope="module", params=NETWORKS)
def released(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A checkpoint as the authors' training left it."""
    name = str(request.param)
    weights = published_model(name).state_dict() | {key: torch.ones(2) for key in UNUSED[name]}
    path = tmp_path_factory.mktemp("released") / "checkpoint.pth"
    torch.save({"epoch": 42, "state_dict": {f"module.{key}": value for key, value in weights.items()}}, path)
    return name, path


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.safetensors"
    save_model(path, "tctrack", tiny_model("tctrack"), {"steps": "10"})
    return path


def damage(path: Path, **changes: Tensor | None) -> Path:
    tensors, metadata = read_checkpoint(path)
    for key, value in changes.items():
        del tensors[key]
        if value is not None:
            tensors[key] = value
    write_checkpoint(path, Checkpoint(tensors, metadata))
    return path


def test_files_from_when_there_was_one_trunk_load(tmp_path: Path) -> None:
    path = tmp_path / "old.safetensors"
    save_model(path, "tctrack-lite", build_model("tctrack-lite", trunk="efficientnet-lite0", search_size=64))
    tensors, metadata = read_checkpoint(path)
    config = json.loads(metadata["config"])
    del config["trunk"]
    write_checkpoint(path, Checkpoint(tensors, {**metadata, "config": json.dumps(config)}))
    model = tctrack.load_model(path)
    assert model.config.trunk == "efficientnet-lite0"  # type: ignore[attr-defined]
    assert model.config.search_size == 64


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tiny: Path, tmp_path: Path, value: float) -> None:
    tensors, metadata = read_checkpoint(tiny)
    key = min(key for key, values in tensors.items() if values.is_floating_point())  # files keep no order
    tensors[key] = torch.full_like(tensors[key], value)
    before = tiny.read_bytes()
    with pytest.raises(CheckpointError, match=f"a weight that is not finite, '{key}'"):
        write_checkpoint(tiny, Checkpoint(tensors, metadata))
    assert tiny.read_bytes() == before
    torch.save(tensors, tmp_path / "bad.pth")
    with pytest.raises(CheckpointError, match="not finite"):
        read_checkpoint(tmp_path / "bad.pth")


def test_tensors_that_are_not_plain_are_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2).to_sparse()}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="'a' is sparse"):
        read_checkpoint(tmp_path / "a.pth")


def test_a_flipped_bit_is_found(tiny: Path) -> None:
    data = bytearray(tiny.read_bytes())
    data[-5] ^= 4
    tiny.write_bytes(data)
    with pytest.raises(CheckpointError, match="damaged, by its checksum; fetch it again"):
        read_checkpoint(tiny)


def assert_same_weights(one: torch.nn.Module, other: torch.nn.Module) -> None:
    for (key, found), expected in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(found, expected), key


def test_a_released_checkpoint_loads_with_its_layout(released: tuple[str, Path]) -> None:
    name, path = released
    for model in (tctrack.load_model(name, weights=path), tctrack.load_model(path)):
        assert_same_weights(model, published_model(name))
        assert model.config.released_layout  # type: ignore[attr-defined]
        assert not model.training


def test_a_converted_checkpoint_says_what_it_is(released: tuple[str, Path], tmp_path: Path) -> None:
    name, path = released
    out = tmp_path / "converted.safetensors"
    assert sorted(convert_file(path, out).dropped) == sorted(UNUSED[name])
    tensors, metadata = read_checkpoint(out)
    assert (metadata["architecture"], metadata["epoch"]) == (name, "42")
    assert json.loads(metadata["config"])["released_layout"] is True
    assert not tensors.keys() & set(UNUSED[name])
    model = tctrack.load_model(out)
    assert_same_weights(model, published_model(name))
    assert dataclasses.asdict(model.config) == dataclasses.asdict(published_model(name).config)  # type: ignore[call-overload]


@pytest.mark.data
def test_the_published_keys_load(released: tuple[str, Path], shared: Path, tmp_path: Path) -> None:
    name, _ = released
    shapes = json.loads((shared / "golden" / f"{NETWORKS[name]}_state_dict.json").read_text())
    torch.save({key: make_weight(key, tuple(shape)) for key, shape in shapes.items()}, tmp_path / "all.pth")
    assert_same_weights(tctrack.load_model(name, weights=tmp_path / "all.pth"), published_model(name))


def test_saving_keeps_weights_configuration_and_metadata(tiny: Path) -> None:
    model = tctrack.load_model(tiny)
    assert model.config == tiny_model("tctrack").config
    assert_same_weights(model, tiny_model("tctrack"))
    assert read_checkpoint(tiny).metadata["steps"] == "10"


def test_half_precision_loads_as_single(tmp_path: Path) -> None:
    save_model(tmp_path / "half.safetensors", "tctrack++", tiny_model("tctrack++").half())
    model = tctrack.load_model(tmp_path / "half.safetensors")
    assert {value.dtype for value in model.parameters()} == {torch.float32}


def test_a_missing_weight(tiny: Path) -> None:
    damage(tiny, **{"grader.cls2.bias": None})
    with pytest.raises(CheckpointError, match=r"lacks the weight 'grader\.cls2\.bias'"):
        tctrack.load_model(tiny)


def test_a_wrong_shape(tiny: Path) -> None:
    damage(tiny, **{"grader.cls2.bias": torch.zeros(7)})
    with pytest.raises(CheckpointError, match=r"'grader\.cls2\.bias' is \(7,\), not \(1,\)"):
        tctrack.load_model(tiny)


def test_an_unknown_weight(tiny: Path) -> None:
    tensors, metadata = read_checkpoint(tiny)
    write_checkpoint(tiny, Checkpoint(tensors | {"extra": torch.zeros(1)}, metadata))
    with pytest.raises(CheckpointError, match="unknown weight 'extra'"):
        tctrack.load_model(tiny)


def test_weights_of_another_network(tiny: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds 'tctrack', not 'tctrack\+\+'"):
        tctrack.load_model("tctrack++", weights=tiny)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_truncated_file(tiny: Path, tmp_path: Path, suffix: str, share: float) -> None:
    whole = tiny
    if suffix == ".pth":
        whole = tmp_path / "whole.pth"
        torch.save(read_checkpoint(tiny).tensors, whole)
    content = whole.read_bytes()
    path = tmp_path / f"part{suffix}"
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(CheckpointError, match="part") as caught:
        tctrack.load_model(path)
    assert "\n" not in str(caught.value)


class Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("pwned",)


@pytest.mark.parametrize("form", ["torch", "pickle"])
def test_a_malicious_pickle_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    monkeypatch.chdir(tmp_path)
    content = {"state_dict": {"weight": Payload()}}
    path = tmp_path / "evil.pth"
    if form == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(CheckpointError, match=r"evil\.pth.* could run code") as caught:
        tctrack.load_model("tctrack", weights=path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state_dict": {}}, "holds no weights"),
        ([1, 2], "holds no weights"),
        ({"layer.weight": torch.zeros(1)}, "fit neither TCTrack nor TCTrack"),
    ],
)
def test_foreign_content(tmp_path: Path, content: object, message: str) -> None:
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=message):
        tctrack.load_model(tmp_path / "other.pth")


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"architecture": "tctrak"}, "did you mean 'tctrack'"),
        ({"architecture": "tctrack", "config": '{"dims": 3}'}, "did you mean 'dim'"),
        ({"architecture": "tctrack", "config": "{"}, "cannot be built"),
        ({"architecture": "tctrack", "config": "[1]"}, "cannot be built"),
    ],
)
def test_metadata_that_makes_no_sense(tmp_path: Path, about: dict[str, str], message: str) -> None:
    path = tmp_path / "odd.safetensors"
    write_checkpoint(path, Checkpoint({"a": torch.zeros(1)}, about))
    with pytest.raises(CheckpointError, match=message):
        tctrack.load_model(path)


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("tctrack-light", None, "did you mean 'tctrack-lite'"),
        ("tctrack", None, "pass weights=FILE"),
        ("tctrack", "missing.pth", "no checkpoint 'missing.pth'"),
    ],
)
def test_names_that_lead_nowhere(name: str, weights: str | None, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        tctrack.load_model(name, weights=weights)


def test_devices() -> None:
    assert pick_device("cpu").type == "cpu"
    assert pick_device("auto").type in {"cpu", "cuda"}
    for name in ("teapot", "cuda:99"):
        with pytest.raises(DependencyError, match=f"no device '{name}'"):
            pick_device(name)


def test_a_failed_write_leaves_the_old_file(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = tiny.read_bytes()

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="No space left"):
        save_model(tiny, "tctrack", tiny_model("tctrack"))
    assert tiny.read_bytes() == before
    assert list(tiny.parent.iterdir()) == [tiny]


def test_no_folder_to_write_to(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write"):
        write_checkpoint(tmp_path / "file" / "x.safetensors", Checkpoint({"a": torch.zeros(1)}, {}))


def test_the_same_weights_give_the_same_bytes(tmp_path: Path) -> None:
    metadata = {f"key {n}": f"ä {n}" for n in range(12)}
    for name in "abcd":
        weights = {"b": torch.arange(6.0).half(), "a": torch.zeros(2, 3)}
        write_checkpoint(tmp_path / f"{name}.safetensors", Checkpoint(weights, metadata))
    files = [path.read_bytes() for path in sorted(tmp_path.iterdir())]
    assert len(files) == 4
    assert len(set(files)) == 1
    read = read_checkpoint(tmp_path / "a.safetensors")
    assert read.metadata == metadata
    assert torch.equal(read.tensors["b"], weights["b"])
