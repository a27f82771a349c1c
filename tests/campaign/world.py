"""The files that the campaign's commands work on: good ones, and every kind of bad one."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import cv2
import numpy as np
import torch
import yaml
from torch import Tensor, nn

from tctrack.action import BACKBONES, build_action_model
from tctrack.action.checkpoint import save_classifier
from tctrack.action.clips import ClipSpec
from tctrack.checkpoint import Checkpoint, write_checkpoint
from tctrack.checkpoint.load import save_model
from tctrack.models.build import build_model
from tests.clips import square_box, square_frames, write_cut_video, write_video
from tests.published import tiny_model


class Brightness(nn.Module):
    """A video network that is its clip's mean."""

    dim = 2

    def forward(self, clip: Tensor) -> Tensor:
        return clip.mean((2, 3, 4))[:, :2]


def build_world(root: Path) -> dict[str, list[str]]:
    """Fill a folder with inputs; return a good command for each verb, whose outputs are relative paths."""
    if "brightness" not in BACKBONES:
        BACKBONES.register("brightness")(Brightness)
    frames = square_frames(6)
    write_video(root / "a.mp4", 6)
    write_video(root / "b.mp4", 14)
    for folder in (root / "frames", root / "data/DTB70/Car6/img", root / "data/DTB70/Gull1/img", root / "own/walk/img"):
        folder.mkdir(parents=True)
        for number, frame in enumerate(frames, 1):
            cv2.imwrite(str(folder / f"{number:05d}.jpg"), frame)
    truth = "".join(",".join(f"{value:g}" for value in square_box(index)) + "\n" for index in range(6))
    for place in ("data/DTB70/Car6/groundtruth_rect.txt", "data/DTB70/Gull1/groundtruth_rect.txt"):
        (root / place).write_text(truth)
    for place in ("results/DTB70/mine/Car6.txt", "results/DTB70/mine/Gull1.txt", "own/walk/groundtruth.txt"):
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_text(truth)
    save_model(root / "tiny.safetensors", "tctrack", tiny_model("tctrack"))
    _training(root)
    _action(root)
    _bad(root, frames[0])
    data = ["--dataset", "DTB70", "--root", f"{root}/data"]
    classifier = ["--model", f"{root}/classifier.safetensors", "--device", "cpu"]
    return {
        "track": [f"{root}/a.mp4", "--box", "20,40,24,24", "--model", "static", "--frames", "3", "--boxes", "b.txt"],
        "serve": [f"{root}/a.mp4", "--port", "0", "--model", "static"],
        "export": ["--model", f"{root}/tiny.safetensors", "--out", "graphs", "--format", "torchscript"],
        "profile": ["--model", "static", "--source", f"{root}/b.mp4", "--box", "20,40,24,24", "--frames", "2"],
        "demo": ["--out", "demo", "--model", "static", "--frames", "2", "--size", "64x64"],
        "convert": [f"{root}/tiny.safetensors", "--out", "c.safetensors"],
        "prepare": ["folder", f"{root}/own", "--out", "pack", "--workers", "0", "--size", "128"],
        "train": ["--config", f"{root}/train.yaml", "out=run", "optim.steps=1", "optim.batch=2", "workers=0"],
        "datasets": ["DTB70", "--root", f"{root}/data"],
        "test": [*data, "--tracker", "static", "--results", "r"],
        "eval": [*data, "--results", f"{root}/results", "--protocol", "otb", "--json", "e.json"],
        "replay": [*data, "--results", f"{root}/results", "--sequence", "Car6", "--out", "p.mp4"],
        "classify": [f"{root}/a.mp4", *classifier],
        "train-action": ["--config", f"{root}/action.yaml", "out=run"],
        "test-action": [f"{root}/list.csv", "--workers", "0", *classifier],
        "features": [f"{root}/a.mp4", "--out", "features", *classifier],
        "train-localizer": ["--config", f"{root}/localizer.yaml", "out=run"],
        "eval-localization": [f"{root}/detections.json", f"{root}/annotations.json"],
        "tune": [*data, "--tracker", "static", "--out", "t.json", "--trials", "1"],
    }


def _training(root: Path) -> None:
    pack = root / "pack"
    (pack / "walk").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for index in range(4):
        cv2.imwrite(str(pack / f"walk/{index}.png"), rng.integers(0, 255, (160, 160, 3), np.uint8))
    (pack / "boxes.json").write_text(json.dumps({"walk": [[f"{index}.png", 50, 60, 60, 40] for index in range(4)]}))
    model = {"dim": 32, "template_size": 32, "search_size": 64}
    torch.manual_seed(0)
    save_model(root / "initial.safetensors", "tctrack-lite", build_model("tctrack-lite", **model))
    config = {
        "out": "run", "model": model, "initial": f"{root}/initial.safetensors", "workers": 0, "threads": 1,
        "precision": "float32", "device": "cpu",
        "data": {"root": str(pack), "recorded_share": 1},
        "clips": {"template_size": 32, "search_size": 64, "length": 2},
        "optim": {"steps": 1, "batch": 2, "warmup": 0},
    }  # fmt: skip
    (root / "train.yaml").write_text(yaml.safe_dump(config))


def _action(root: Path) -> None:
    spec = ClipSpec(frames=2, interval=1, size=16, test_size=16, scale=(16, 20))
    model = build_action_model("brightness", 2)
    save_classifier(root / "classifier.safetensors", "brightness", model, clip=dataclasses.asdict(spec))
    (root / "list.csv").write_text(f"{root}/a.mp4 0\n{root}/a.mp4 1\n")
    clip = {**dataclasses.asdict(spec), "scale": list(spec.scale)}
    config = {
        "out": "run", "model": "brightness", "train": {"path": f"{root}/list.csv"}, "num_classes": [2], "clip": clip,
        "epochs": 1, "batch": 2, "workers": 0, "device": "cpu", "warmup": 0,
    }  # fmt: skip
    (root / "action.yaml").write_text(yaml.safe_dump(config))
    (root / "features").mkdir()
    database = {}
    for number in range(4):
        np.save(root / f"features/v{number}.npy", np.ones((8, 4), np.float32))
        segments = [{"segment": [1.0, 5.0], "label": "ab"[number % 2]}]
        subset = "training" if number < 2 else "validation"
        database[f"v{number}"] = {"subset": subset, "duration": 10.0, "annotations": segments}
    (root / "annotations.json").write_text(json.dumps({"database": database}))
    found = {f"v{number}": [{"segment": [1.0, 5.0], "label": "a", "score": 0.5}] for number in range(4)}
    (root / "detections.json").write_text(json.dumps({"results": found}))
    sizes = {"features": 4, "num_classes": 2, "length": 8, "durations": 8, "samples": 4, "hidden": 8}
    config = {
        "out": "run", "annotations": f"{root}/annotations.json", "features": f"{root}/features", "model": sizes,
        "epochs": 1, "batch": 2, "device": "cpu",
    }  # fmt: skip
    (root / "localizer.yaml").write_text(yaml.safe_dump(config))


def _bad(root: Path, frame: np.ndarray) -> None:
    """Files that are not what their names say."""
    bad = root / "bad"
    bad.mkdir()
    for name in ("empty.mp4", "empty.json", "empty.yaml", "empty.safetensors", "empty.txt"):
        (bad / name).touch()
    for name in ("noise.mp4", "noise.pth", "noise.safetensors", "noise.json", "noise.yaml", "noise.csv", "noise.npy"):
        (bad / name).write_bytes(np.random.default_rng(0).bytes(300))
    write_cut_video(bad / "cut.avi", 30, 0.4)
    jpeg = cv2.imencode(".jpg", frame)[1].tobytes()
    for name, data in (("cut", jpeg[: len(jpeg) // 2]), ("mixed", cv2.imencode(".png", frame[:50])[1].tobytes())):
        (bad / name).mkdir()
        (bad / name / "1.jpg").write_bytes(jpeg)
        (bad / name / "2.jpg").write_bytes(data)
    tensors = tiny_model("tctrack").state_dict()
    next(values for values in tensors.values() if values.is_floating_point()).fill_(float("nan"))
    torch.save(tensors, bad / "nan.pth")
    torch.save({"run": os.getcwd}, bad / "code.pth")
    write_checkpoint(bad / "other.safetensors", Checkpoint({"a": torch.zeros(2)}, {"architecture": "x", "config": "["}))
    for name, text in {
        "alias.yaml": "a: &a [1, 1]\nb: &b [*a, *a]\n", "deep.yaml": "[" * 2000, "tag.yaml": "a: !!python/none x\n",
        "date.yaml": "optim: {lr: 2024-02-30}\n", "list.yaml": "- 1\n", "null.yaml": "null\n",
        "key.yaml": "? [1]\n: 2\n",
        "deep.json": "[" * 100_000, "list.json": "[1]", "nan.json": '{"results": {"v": [{"score": NaN}]}}',
        "null.json": "null", "odd.json": '{"../../x": {"gt": [[1, 2, 3, 4]]}}', "short.csv": "a\n", "nul.csv": "\0 1\n",
        "boxes.txt": "1,2,3\n", "nan.txt": "nan,nan,nan,nan\n", "words.txt": "a b c d\n",
    }.items():  # fmt: skip
        (bad / name).write_text(text)
    (bad / "folder.mp4").mkdir()
    (bad / "empty").mkdir()
    (bad / "dangling").symlink_to(bad / "nowhere")
    (bad / "loop").symlink_to(bad / "loop")
    (bad / "link.mp4").symlink_to(root / "a.mp4")
    os.mkfifo(bad / "pipe")
