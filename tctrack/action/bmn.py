"""Boundary-matching network: proposes segments of a long video from its clip features (ICCV 2019, arXiv 1907.09702)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tctrack.config import Side


@dataclass(frozen=True)
class BMNConfig:
    """Sizes of the network."""

    features: Side = 2048
    """Channels of the clip features."""
    num_classes: Side = 200
    """Classes of a video's segments."""
    length: Side = 100
    """Positions to which the features of a video are resampled."""
    durations: Side = 100
    """Longest proposal, in positions."""
    samples: Side = 32
    """Points at which a proposal reads the features, over twice its extent."""
    hidden: Side = 256
    """Channels along time; proposals have twice as many before and half as many after the first convolution."""


class BMNOutput(NamedTuple):
    """Probabilities; ``L`` positions, ``D`` durations; a proposal ``(d, i)`` extends from ``i`` to ``i + d + 1``."""

    start: Tensor  #: ``(B, L)``
    end: Tensor  #: ``(B, L)``
    regression: Tensor  #: ``(B, D, L)`` overlap with a segment
    confidence: Tensor  #: ``(B, D, L)`` of being a segment
    classes: Tensor  #: ``(B, classes)`` of the video's segments


class BMN(nn.Module):
    """Boundaries, a confidence map of all proposals, and the video's classes.

    The proposals' map is a matrix product with fixed interpolation weights, after the convolution over a proposal's
    points, so that no proposal's features are ever stored.
    """

    sampling: Tensor

    def __init__(self, config: BMNConfig) -> None:
        super().__init__()
        self.config = config
        width = config.hidden
        self.base = nn.Sequential(
            nn.Conv1d(config.features, width, 3, padding=1, groups=4),
            nn.ReLU(),
            nn.Conv1d(width, width, 3, padding=1, groups=4),
            nn.ReLU(),
        )
        self.start, self.end = (
            nn.Sequential(nn.Conv1d(width, width, 3, padding=1, groups=4), nn.ReLU(), nn.Conv1d(width, 1, 1))
            for _ in range(2)
        )
        self.points = nn.Sequential(
            nn.Conv1d(width, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv1d(width, 2 * width * config.samples, 1, bias=False),
        )
        self.bias = nn.Parameter(torch.zeros(2 * width, 1, 1))
        self.proposals = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(2 * width, width // 2, 1),
            nn.ReLU(),
            nn.Conv2d(width // 2, width // 2, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width // 2, width // 2, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width // 2, 2, 1),
        )
        self.classes = nn.Linear(width, config.num_classes)
        self.register_buffer("sampling", sampling_weights(config), persistent=False)

    def forward(self, features: Tensor) -> BMNOutput:
        """Map features ``(B, features, L)`` of whole videos to probabilities."""
        base = self.base(features)
        points = self.points(base).view(len(base), 2 * self.config.hidden, -1)  # (B, 2 * hidden, samples * L)
        proposals = (points @ self.sampling).view(len(base), -1, self.config.durations, self.config.length)
        regression, confidence = self.proposals(proposals + self.bias).sigmoid().unbind(1)
        return BMNOutput(
            self.start(base)[:, 0].sigmoid(),
            self.end(base)[:, 0].sigmoid(),
            regression,
            confidence,
            self.classes(base.mean(2)).sigmoid(),
        )


def sampling_weights(config: BMNConfig) -> Tensor:
    """Return the weights ``(samples * L, D * L)`` with which the proposals' points read the positions.

    The points of a proposal lie evenly from half its extent before its start to half its extent after its end; between
    two positions they interpolate, beyond the video they read zero, as do proposals that leave it.
    """
    length = config.length
    start = torch.arange(length).view(1, length, 1)
    extent = torch.arange(1, config.durations + 1).view(-1, 1, 1)
    share = torch.linspace(-0.5, 1.5, config.samples)
    place = start + extent * share  # (D, L, samples)
    distance = (place[..., None] - torch.arange(length)).abs()
    weights = (1 - distance).clamp_min(0) * (start + extent <= length)[..., None]  # (D, L, samples, L)
    return weights.permute(2, 3, 0, 1).reshape(config.samples * length, -1)
