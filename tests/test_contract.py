"""The interface that other work relies on."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import tctrack
import trackers
from tctrack.types import Frame

ROOT = Path(__file__).resolve().parents[1]


def _frames(count: int) -> list[Frame]:
    """A bright square that moves over grey noise, 3 pixels a frame."""
    rng = np.random.default_rng(0)
    ground = rng.integers(60, 120, (200, 320, 3), np.uint8)
    frames = []
    for t in range(count):
        frame = ground.copy()
        frame[80:120, 100 + 3 * t : 140 + 3 * t] = (40, 200, 240)
        frames.append(frame)
    return frames


def test_the_shipped_model_streams_maps() -> None:
    model = tctrack.load_model("tctrack-lite")
    template, search = torch.zeros(2, 3, 128, 128), torch.zeros(2, 3, 224, 224)
    state = model.start(template, search)
    outputs, state = model.step(search, state)
    assert not state.memory.requires_grad  # or a stream would hold the gradients of every frame
    assert all(maps.shape[0] == 2 and maps.dim() == 4 for maps in outputs)


def test_the_default_tracker_follows_a_target() -> None:
    frames = _frames(12)
    tracker = trackers.build_tracker("tctrack-lite", penalty_k=0.1, window_influence=0.4, lr=0.35, device="cpu")
    tracker.init(frames[0], (100, 80, 40, 40))
    for t, frame in enumerate(frames[1:], 1):
        result = tracker.update(frame)
        assert abs(result.box.x + result.box.w / 2 - (120 + 3 * t)) < 8
        assert result.score is not None
        assert result.score > 0.2


def test_one_network_serves_two_targets() -> None:
    frames = _frames(5)
    model = tctrack.load_model("tctrack-lite")
    boxes = ((100, 80, 40, 40), (98, 78, 44, 44))
    pair = [trackers.build_tracker("tctrack-lite", model=model) for _ in boxes]
    for tracker, box in zip(pair, boxes, strict=True):
        tracker.init(frames[0], box)
    together = [[tracker.update(frame) for tracker in pair] for frame in frames[1:]]
    for index, box in enumerate(boxes):
        alone = trackers.build_tracker("tctrack-lite", model=model)
        alone.init(frames[0], box)
        assert [alone.update(frame) for frame in frames[1:]] == [results[index] for results in together]


def test_a_factory_gives_trackers_of_their_own_that_share_a_network() -> None:
    frames = _frames(4)
    make = trackers.tracker_factory("tctrack-lite")
    boxes = ((100, 80, 40, 40), (60, 60, 44, 44))
    pair = [make() for _ in boxes]
    for tracker, box in zip(pair, boxes, strict=True):
        tracker.init(frames[0], box)
    together = [[tracker.update(frame) for tracker in pair] for frame in frames[1:]]
    alone = trackers.build_tracker("tctrack-lite")
    alone.init(frames[0], boxes[0])
    assert [alone.update(frame) for frame in frames[1:]] == [results[0] for results in together]
    assert getattr(pair[0], "engine", 0) is getattr(pair[1], "engine", 1)
    with pytest.raises(RuntimeError):
        make().update(frames[0])


def test_the_demo_script_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, frame in enumerate(_frames(3)):
        cv2.imwrite(str(tmp_path / f"{number}.png"), frame)
    monkeypatch.setattr(sys, "argv", ["follow.py", str(tmp_path), "100,80,40,40"])
    runpy.run_path(str(ROOT / "demo/follow.py"), run_name="__main__")
    assert len(capsys.readouterr().out.splitlines()) == 2
