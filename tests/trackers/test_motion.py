"""How the tracker uses motion, with a network that sees a white square."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tctrack.engines.torch import TorchEngine
from tctrack.models.base import TemporalState, TrackingModel
from tctrack.scenes.painter import ground
from tctrack.settings import TrackerSettings
from tctrack.types import Frame
from trackers.siamese import PATIENCE, SiameseTracker


@dataclass(frozen=True)
class SpotConfig:
    tracking: TrackerSettings
    template_size: int = 64
    search_size: int = 128


class Seen(NamedTuple):
    crop: Tensor


class SpotNetwork(TrackingModel):
    """Finds the white square in the search crop; its score is low where there is none."""

    def __init__(self, tracking: TrackerSettings) -> None:
        super().__init__()
        self.config: SpotConfig = SpotConfig(tracking)
        self.device = nn.Parameter(torch.zeros(()))

    def encode(self, template: Tensor, extent: Tensor) -> Tensor:
        return template

    def run(
        self, frames: Tensor, template: Tensor, extent: Tensor, *_: object, length: int = 1
    ) -> tuple[Any, TemporalState]:
        return Seen(frames), TemporalState(template, extent, (), frames)

    def decode(self, outputs: Seen) -> tuple[Tensor, Tensor]:
        y, x = torch.nonzero(outputs.crop[0].amin(0) > 240, as_tuple=True)
        if len(x) < 4:
            return torch.tensor([[[20.0, 20.0, 32.0, 32.0]]]), torch.tensor([[0.05]])
        centre = [float(x.float().mean()) - 63.5, float(y.float().mean()) - 63.5]
        return torch.tensor([[[*centre, 32.0, 32.0]]]), torch.tensor([[0.9]])


SCENE = np.minimum(ground(np.random.default_rng(3), 900), 200).astype(np.uint8)
SIDE = 20


def _frame(x: float, y: float, camera: int = 0, hidden: bool = False) -> Frame:
    frame = SCENE[:360, camera : camera + 480].copy()
    if not hidden:
        frame[round(y) : round(y) + SIDE, round(x) : round(x) + SIDE] = 255
    return frame


def _follow(tracking: TrackerSettings, frames: list[Frame], first: tuple[float, float]) -> list[tuple[float, float]]:
    tracker = SiameseTracker(TorchEngine(SpotNetwork(tracking)))
    tracker.init(frames[0], (*first, SIDE, SIDE))
    return [tracker.update(frame).box[:2] for frame in frames[1:]]


def _tracking(**changes: float) -> TrackerSettings:
    settings = {"penalty_k": 0.0, "window_influence": 0.0, "lr": 0.0, "motion": 0.5, "lost": 0.25, "found": 0.35}
    return TrackerSettings(**{**settings, **changes}, subpixel=True)


def test_a_hidden_target_is_carried_on_and_found_again() -> None:
    places = [(40.0 + 5 * t, 150.0 + 2 * t) for t in range(40)]
    frames = [_frame(*place, hidden=20 <= t < 28) for t, place in enumerate(places)]
    error = np.abs(np.subtract(_follow(_tracking(), frames, places[0]), places[1:])).max(1)
    assert error[10:].max() < 4
    astray = np.abs(np.subtract(_follow(_tracking(lost=0.0), frames, places[0]), places[1:])).max(1)
    assert astray[-1] > 40


def test_the_camera_may_swing_farther_than_the_search_reaches() -> None:
    cameras = [0, 60, 120, 180, 240]  # the search reaches 40 pixels
    places = [(300.0 - camera, 150.0) for camera in cameras]
    frames = [_frame(*place, camera) for place, camera in zip(places, cameras, strict=True)]
    assert np.abs(np.subtract(_follow(_tracking(), frames, places[0]), places[1:])).max() < 3
    lost = _follow(_tracking(motion=0.0, lost=0.0), frames, places[0])
    assert np.abs(np.subtract(lost, places[1:])).max() > 40


def test_a_target_that_comes_back_elsewhere_is_found_again() -> None:
    frames = [_frame(40, 40), *[_frame(40, 40, hidden=True)] * (PATIENCE + 60), *[_frame(150, 130)] * 40]
    tracker = SiameseTracker(TorchEngine(SpotNetwork(_tracking())))
    tracker.init(frames[0], (40, 40, SIDE, SIDE))
    results = [tracker.update(frame) for frame in frames[1:]]
    away = results[PATIENCE + 1 : PATIENCE + 60]
    assert {result.state for result in away} == {"lost"}
    assert all(result.box.w == SIDE for result in away)
    assert results[-1].state == "tracked"
    assert results[-1].box[:2] == pytest.approx((150, 130), abs=2)


def test_the_place_of_a_target_that_left_does_not_run_away() -> None:
    places = [(440.0 - 4 * t, 300.0) for t in range(8)]
    frames = [_frame(*place) for place in places] + [_frame(0, 0, hidden=True)] * 400
    tracker = SiameseTracker(TorchEngine(SpotNetwork(_tracking())))
    state = tracker.start(frames[0], (*places[0], SIDE, SIDE))
    for frame in frames[1:]:
        _, state = tracker.step(frame, state)
    assert state.velocity[0] < -2
    assert state.centre[0] == -240  # half a frame outside, where its speed would have taken it 1,000 pixels farther
    assert state.reach > 20


def test_what_is_too_far_away_is_not_the_lost_target() -> None:
    frames = [_frame(40, 40), *[_frame(40, 40, hidden=True)] * (PATIENCE + 5), *[_frame(430, 300)] * 30]
    tracker = SiameseTracker(TorchEngine(SpotNetwork(_tracking())))
    tracker.init(frames[0], (40, 40, SIDE, SIDE))
    assert [tracker.update(frame) for frame in frames[1:]][-1].state == "lost"


def test_without_motion_the_search_stays_where_the_target_was() -> None:
    still = SiameseTracker(TorchEngine(SpotNetwork(_tracking())), _tracking(motion=0.0, lost=0.0))
    state = still.start(_frame(100, 100), (100, 100, SIDE, SIDE))
    for t in range(1, 4):
        _, state = still.step(_frame(100 + 4 * t, 100), state)
    assert state.ground is None
    assert state.velocity == (0, 0)
