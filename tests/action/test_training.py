"""Training, resuming, testing and running classifiers on generated videos."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tctrack.action import BACKBONES, build_action_model
from tctrack.action.checkpoint import load_classifier, save_classifier
from tctrack.action.clips import ClipSpec
from tctrack.action.hypothesis import CALIBRATIONS, FrameNet
from tctrack.action.motions import MOTIONS, write_motion_videos
from tctrack.action.training import (
    ActionTrainConfig,
    ListConfig,
    classify_video,
    evaluate_classifier,
    learning_rate,
    train_classifier,
)
from tctrack.checkpoint import read_checkpoint
from tctrack.cli import main
from tctrack.config import build, load_config
from tctrack.errors import CheckpointError, ConfigError, DatasetError

SPEC = ClipSpec(frames=8, interval=1, size=32, test_size=32, scale=(32, 32), flip=False, mean=0.5, std=0.5)


class Tiny(nn.Module):
    """The hypothesis test's network, without its classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.net = FrameNet(CALIBRATIONS["TAdaConv: local and global context"])
        self.net.head = nn.Identity()
        self.dim = 32

    def forward(self, clip: Tensor) -> Tensor:
        return self.net(clip)


@pytest.fixture(autouse=True)
def _tiny_network() -> None:
    if "tiny" not in BACKBONES:
        BACKBONES.register("tiny")(Tiny)
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_motion_videos(tmp_path_factory.mktemp("motion"), 8, seed=0, side=32)


def config(out: Path, videos: Path, **changes: object) -> ActionTrainConfig:
    base = ActionTrainConfig(
        out, "tiny", ListConfig(videos), num_classes=(len(MOTIONS),), classes=MOTIONS, clip=SPEC, dropout=0.0,
        epochs=2, batch=4, lr=3e-3, warmup=0.5, optimizer="adamw", device="cpu", workers=0,
    )  # fmt: skip
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]


def weights(path: Path) -> dict[str, Tensor]:
    return dict(load_classifier(path).model.state_dict())


def test_resumed_training_equals_an_uninterrupted_one(
    tmp_path: Path, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"mixup": 0.8, "label_smoothing": 0.1, "clip": dataclasses.replace(SPEC, flip=True)}
    whole = train_classifier(config(tmp_path / "whole", videos, **options))

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("tctrack.action.training.log.info", stop)
        with pytest.raises(KeyboardInterrupt):
            train_classifier(config(tmp_path / "parts", videos, **options))
    parts = train_classifier(config(tmp_path / "parts", videos, **options))
    for key, value in weights(whole).items():
        torch.testing.assert_close(weights(parts)[key], value)


def test_run_of_another_network_is_not_overwritten(tmp_path: Path, videos: Path) -> None:
    train_classifier(config(tmp_path, videos, epochs=1))
    with pytest.raises(CheckpointError, match="trains 'tiny'"):
        train_classifier(config(tmp_path, videos, model="tsn_r50"))
    (tmp_path / "latest.pt").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="remove it"):
        train_classifier(config(tmp_path, videos))


def test_lists_that_do_not_fit_are_told(tmp_path: Path, videos: Path) -> None:
    with pytest.raises(ConfigError, match="ends before"):
        train_classifier(config(tmp_path, videos, num_classes=(2,)))
    with pytest.raises(ConfigError, match="1 labels per video"):
        train_classifier(config(tmp_path, videos, num_classes=(8, 8)))
    with pytest.raises(DatasetError, match="fewer videos"):
        train_classifier(config(tmp_path, videos, batch=64))


def test_learning_rate_warms_up_and_decays(tmp_path: Path, videos: Path) -> None:
    run = config(tmp_path, videos, epochs=10, warmup=2.0, lr=1.0)
    rates = [learning_rate(run, epoch) for epoch in (0, 1, 2, 6, 10)]
    np.testing.assert_allclose(rates, [0.01, 0.505, 1.0, 0.5, 0.0], atol=1e-9)


class Oracle(nn.Module):
    """Answers with the given logits, whatever it sees."""

    def __init__(self, logits: list[float], num_classes: tuple[int, ...]) -> None:
        super().__init__()
        self.logits, self.num_classes = nn.Parameter(torch.tensor([logits])), num_classes

    def forward(self, clip: Tensor) -> Tensor:
        return self.logits.expand(len(clip), -1)


def test_accuracy_of_verb_noun_and_action(tmp_path: Path, videos: Path) -> None:
    folder = tmp_path / "P01" / "videos"
    folder.mkdir(parents=True)
    (folder / "a.MP4").write_bytes((videos.parent / "00000.mp4").read_bytes())
    rows = [f"P01,a,00:00:00.00,00:00:01.00,{verb},{noun}" for verb, noun in ((1, 2), (1, 0), (0, 2), (0, 1))]
    rows.append("P01,absent,00:00:00.00,00:00:01.00,0,0")
    header = "participant_id,video_id,start_timestamp,stop_timestamp,verb_class,noun_class"
    (tmp_path / "list.csv").write_text("\n".join([header, *rows]))
    model = Oracle([0.0, 3.0, 0.0, 1.0, 2.0], (2, 3))  # verb 1; nouns 2, 1, 0
    scores = evaluate_classifier(
        model,
        ListConfig(tmp_path / "list.csv", "epic", tmp_path),
        SPEC,
        clips=2,
        crops=1,
        workers=0,  # type: ignore[arg-type]
    )
    assert scores.top1 == {"verb": 0.5, "noun": 0.5, "action": 0.25}
    assert scores.top5 == {"verb": 1.0, "noun": 1.0, "action": 1.0}
    assert (scores.videos, scores.skipped) == (4, 1)


def test_probabilities_are_averaged_over_clips(videos: Path) -> None:
    model = Oracle([0.0, float(np.log(3))], (2,))
    (probabilities,) = classify_video(model, videos.parent / "00000.mp4", SPEC, clips=3)  # type: ignore[arg-type]
    torch.testing.assert_close(probabilities.detach(), torch.tensor([0.25, 0.75]))


def test_classify_prints_the_best_classes(tmp_path: Path, videos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "tiny.safetensors"
    save_classifier(path, "tiny", build_action_model("tiny", 8), clip=dataclasses.asdict(SPEC), classes=MOTIONS)
    video = str(videos.parent / "00000.mp4")
    assert main(["classify", video, "--model", str(path), "--topk", "3", "--device", "cpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert all(any(name in line for name in MOTIONS) for line in lines)
    (tmp_path / "broken.mp4").write_bytes(b"")
    assert main(["classify", str(tmp_path / "broken.mp4"), "--model", str(path)]) == 2
    assert "broken.mp4" in capsys.readouterr().err
    assert main(["classify", video, "--model", str(path), "--clip", "frames=99"]) == 2
    assert "a clip needs 99" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", sorted(path.stem for path in (Path(__file__).parents[2] / "configs/action").glob("tada*.yaml"))
)
def test_shipped_configurations_load(name: str) -> None:
    run = build(ActionTrainConfig, load_config(f"action/{name}", ["train.path=list.csv"]))
    assert run.model in BACKBONES


@pytest.mark.slow
def test_processes_share_the_work(tmp_path: Path, videos: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(
        "import sys\n"
        "from tctrack.action import BACKBONES\n"
        "from tctrack.action.convnext import ConvNeXt\n"
        "BACKBONES.register('small')(lambda: ConvNeXt((1, 1), (16, 32), 1))\n"
        "from tctrack.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    overrides = [f"train.path={videos}", f"out={tmp_path}", "model=small", "num_classes=[8]", "epochs=2", "batch=2",
                 "clip.interval=1", "clip.size=32", "clip.scale=[32,32]", "device=cpu", "workers=0"]  # fmt: skip
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    config = "action/tada2d_r50_kinetics400"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    for epochs in (1, 2):  # the second run resumes the first
        done = subprocess.run(
            [*command, "train-action", "--config", config, *overrides, f"epochs={epochs}"],
            env=environment, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert f"epoch {epochs}: loss" in done.stderr
    assert "epoch 1: loss" not in done.stderr
    assert read_checkpoint(tmp_path / "model.safetensors").metadata["architecture"] == "small"


@pytest.mark.slow
def test_classifier_learns_motion_from_video_files(tmp_path: Path) -> None:
    train = write_motion_videos(tmp_path / "train", 768, seed=1, side=32)
    test = write_motion_videos(tmp_path / "test", 200, seed=2, side=32)
    run = config(tmp_path / "run", train, epochs=20, batch=32)
    model = load_classifier(train_classifier(run)).model
    scores = evaluate_classifier(model, ListConfig(test), SPEC, clips=1, crops=1, workers=0)
    assert scores.top1["class"] >= 0.95
    assert scores.skipped == 0
