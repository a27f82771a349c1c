"""Features of long videos, and BMN on generated ones."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tctrack.action import BACKBONES, build_action_model
from tctrack.action.bmn import BMN, BMNConfig, BMNOutput, sampling_weights
from tctrack.action.checkpoint import save_classifier
from tctrack.action.clips import ClipSpec
from tctrack.action.localization import (
    LocalizerConfig,
    detect,
    extract_features,
    make_targets,
    read_features,
    train_localizer,
    write_features,
)
from tctrack.action.segments import Segment, read_results
from tctrack.cli import main
from tctrack.config import build, load_config
from tctrack.errors import DatasetError, DependencyError, OutputError

SMALL = BMNConfig(features=8, num_classes=2, length=16, durations=16, samples=8, hidden=16)


class Brightness(nn.Module):
    """Mean of every frame of a clip, its feature."""

    dim = 2

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, clip: Tensor) -> Tensor:
        return clip.mean((1, 3, 4)) * self.scale


@pytest.fixture(scope="module", autouse=True)
def _network() -> None:
    if "brightness" not in BACKBONES:
        BACKBONES.register("brightness")(Brightness)


def grey(number: Any) -> Any:
    return number * 17 % 40 * 6


@pytest.fixture(scope="module")
def flicker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of 40 grey frames of different values, see :func:`grey`."""
    path = tmp_path_factory.mktemp("videos") / "flicker.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25, (32, 32))
    for n in range(40):
        writer.write(np.full((32, 32, 3), grey(n), np.uint8))
    writer.release()
    return path


SPEC = ClipSpec(frames=2, interval=4, size=32, test_size=32, scale=(32, 32), mean=0.0, std=1.0)


@pytest.mark.parametrize("batch", [3, 100])
def test_features_of_every_clip(flicker: Path, batch: int) -> None:
    features = extract_features(build_action_model("brightness", 2), flicker, SPEC, stride=10, batch=batch)
    expected = grey(np.array([[0, 4], [10, 14], [20, 24], [30, 34]])) / 255
    np.testing.assert_allclose(features, expected, atol=0.02)


def test_features_through_the_command_line(flicker: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = tmp_path / "w.safetensors"
    save_classifier(weights, "brightness", build_action_model("brightness", 2), clip=dataclasses.asdict(SPEC))
    (tmp_path / "broken.mp4").write_bytes(b"x")
    arguments = ["--model", str(weights), "--out", str(tmp_path / "out"), "--stride", "10", "--device", "cpu"]
    assert main(["features", str(flicker), str(tmp_path / "broken.mp4"), *arguments]) == 0
    printed = capsys.readouterr()
    assert "4 clips of 2 channels" in printed.out
    assert "1 of 2 videos skipped" in printed.out
    assert "broken.mp4" in printed.err
    assert read_features(tmp_path / "out" / "flicker.npy").shape == (4, 2)
    assert main(["features", str(flicker), *arguments, "--clip", "interval=40"]) == 2
    assert "has 40 frames; a clip spans 41" in capsys.readouterr().err
    for words, message in (
        ([flicker, "--clip", "frames={"], "is not valid YAML"),
        ([flicker, "--clip", "frames=0"], "clip.frames=0 must be at least 1"),
        ([flicker, "--stride", "0"], "--stride: 0 must be at least 1"),
        ([flicker, tmp_path / flicker.name], "2 videos are called 'flicker'"),
    ):
        assert main(["features", *arguments, *map(str, words)]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("ending", ["npy", "h5"])
def test_feature_files(tmp_path: Path, ending: str) -> None:
    if ending == "h5":
        pytest.importorskip("h5py")
    features = np.arange(6, dtype=np.float32).reshape(3, 2)
    write_features(tmp_path / f"a.{ending}", features)
    np.testing.assert_array_equal(read_features(tmp_path / f"a.{ending}"), features)
    assert [path.name for path in tmp_path.iterdir()] == [f"a.{ending}"]


def test_feature_files_that_cannot_be_used_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "flat.npy", np.zeros(3))
    with pytest.raises(DatasetError, match="shape"):
        read_features(tmp_path / "flat.npy")
    with pytest.raises(DatasetError, match="absent"):
        read_features(tmp_path / "absent.npy")
    with pytest.raises(OutputError, match=r"\.npy or \.h5"):
        write_features(tmp_path / "a.txt", np.zeros((1, 1)))
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(DependencyError, match=r"pip install '\.\[action\]'"):
        write_features(tmp_path / "a.h5", np.zeros((1, 1)))


def test_proposals_read_the_features_between_their_ends() -> None:
    """On the ramp 0, 1, 2, … a point reads its own place; the middle of a proposal's points is its centre."""
    config = dataclasses.replace(SMALL, samples=5)
    weights = sampling_weights(config).view(5, 16, 16, 16)  # samples, positions, durations, starts
    read = torch.einsum("p,npdi->ndi", torch.arange(16.0), weights)
    assert read[:, 3, 6].tolist() == [4, 6, 8, 10, 12]  # from 6 to 10, extended by 2 on each side
    assert read[:, 3, 13].abs().sum() == 0  # leaves the video


def test_targets_by_hand() -> None:
    targets = make_targets([Segment("v", 4, 12, "b")], 16, ["a", "b"], SMALL)
    assert targets.start.nonzero().flatten().tolist() == [3, 4]
    assert targets.end.nonzero().flatten().tolist() == [11, 12]
    assert targets.overlap[7, 4] == 1
    assert targets.overlap[3, 4] == pytest.approx(0.5)
    assert targets.overlap[7, 8] == pytest.approx(4 / 12)
    assert targets.overlap[15, 1] == 0
    assert targets.classes.tolist() == [0, 1]


def test_detections_by_hand() -> None:
    start, end = torch.zeros(1, 16), torch.zeros(1, 16)
    start[0, 4], end[0, 12], end[0, 8] = 0.8, 0.9, 0.6
    maps = torch.full((1, 16, 16), 0.5)
    maps[0, 7, 4] = 1.0
    found = detect(BMNOutput(start, end, maps, maps, torch.tensor([[0.1, 0.5]])), "v", 32.0, ["a", "b"], top_classes=1)
    assert found[0][:4] == ("v", 8.0, 24.0, "b")
    assert found[0].score == pytest.approx(0.8 * 0.9 * 0.5)
    assert found[1][:4] == ("v", 8.0, 16.0, "b")
    weakened = 0.8 * 0.6 * 0.25 * np.exp(-(0.5**2) / 0.4)
    assert found[1].score == pytest.approx(weakened * 0.5)


def test_gradients_reach_every_parameter() -> None:
    torch.manual_seed(0)
    model = BMN(SMALL)
    sum(part.sum() for part in model(torch.randn(2, 8, 16))).backward()
    assert [key for key, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@pytest.mark.slow
def test_bmn_finds_actions_in_features(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Features whose first or second half of channels is lit while the action runs."""
    torch.set_num_threads(1)
    rng, database = np.random.default_rng(0), {}
    for n in range(72):
        start, extent, kind = rng.uniform(2, 20), rng.uniform(6, 18), int(rng.integers(2))
        times = np.arange(50) * 0.8
        lit = ((times >= start) & (times < start + extent))[:, None] * (np.arange(8) // 4 == kind)
        np.save(tmp_path / f"v{n}.npy", (lit + rng.normal(0, 0.1, (50, 8))).astype(np.float32))
        annotation = {"segment": [start, start + extent], "label": "ab"[kind]}
        database[f"v{n}"] = {
            "subset": "training" if n < 56 else "validation", "duration": 40.0, "annotations": [annotation]
        }  # fmt: skip
    (tmp_path / "a.json").write_text(json.dumps({"database": database}))
    config = LocalizerConfig(
        tmp_path / "out", tmp_path / "a.json", tmp_path,
        model=dataclasses.replace(SMALL, length=40, durations=24), epochs=30, batch=8, lr=3e-3, device="cpu",
    )  # fmt: skip
    scores = train_localizer(config)
    assert scores[0] > 0.8  # tIoU 0.5
    assert {segment.video for segment in read_results(tmp_path / "out" / "results.json")} == {
        f"v{n}" for n in range(56, 72)
    }
    arguments = [str(tmp_path / "out" / "results.json"), str(tmp_path / "a.json"), "--subset", "validation"]
    assert main(["eval-localization", *arguments]) == 0
    assert f"mAP@0.50  {100 * scores[0]:6.2f}" in capsys.readouterr().out


def test_shipped_configuration_loads() -> None:
    overrides = ["annotations=a.json", "features=f"]
    assert build(LocalizerConfig, load_config("action/bmn_hacs", overrides)).model == BMNConfig()
