"""The deterministic weights and images behind the golden values of TCTrack and TCTrack++."""

from __future__ import annotations

import functools
import zlib
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tctrack.models.build import build_model
from tctrack.models.tctrack import TCTrack, TCTrackConfig
from tctrack.settings import TrackerSettings
from tctrack.types import Frame

#: Registered name of each network, and the name of its golden files.
NETWORKS = {"tctrack": "tctrack", "tctrack++": "tctrack_pp"}
#: The settings behind the golden boxes, and the first of them.
GOLDEN_TRACKING = TrackerSettings(penalty_k=0.05, window_influence=0.44, lr=0.3)
GOLDEN_BOX = (170, 130, 61, 41)


@functools.cache
def make_weight(key: str, shape: tuple[int, ...]) -> Tensor:
    """Return the weight of a published key."""
    if key.endswith("num_batches_tracked"):
        return torch.tensor(0)
    module, kind = key.split(".")[-2:]
    count = int(np.prod(shape))
    seed = zlib.crc32(key.encode()) % 10007
    u = np.modf(np.abs(np.sin(np.arange(1, count + 1) * 12.9898 + seed * 0.618) * 43758.5453))[0] - 0.5
    is_norm = module.isdigit() or any(part in key for part in ("norm", "b_f", "block"))
    if kind == "running_var":
        values = 1 + 0.5 * u
    elif kind == "running_mean":
        values = 0.1 * u
    elif kind == "gamma":
        values = 0.5 + u
    elif len(shape) == 1:
        values = 1 + 0.2 * u if kind == "weight" and is_norm else 0.1 * u
    else:
        values = u * np.sqrt(12 / (np.prod(shape[3:]) if len(shape) == 6 else count / shape[0])) * 1.2
        if key.endswith("block1.0.weight"):
            values = values / 64
        elif key.endswith(("grader.conv1.0.weight", "grader.conv2.0.weight")):
            values = values / 2048
    return torch.from_numpy(values.astype(np.float32)).view(shape)


def fill(model: nn.Module) -> None:
    """Give a model the deterministic weights."""
    model.load_state_dict({key: make_weight(key, tuple(value.shape)) for key, value in model.state_dict().items()})


def make_crop(t: int, side: int) -> Tensor:
    """Return the crop ``(1, 3, side, side)`` at time ``t``."""
    c, y, x = np.meshgrid(np.arange(3), np.arange(side), np.arange(side), indexing="ij")
    crop = 127.5 + 127.5 * np.sin((x + 5 * t) / (9 + c)) * np.cos((y - 3 * t) / (7 + c))
    return torch.from_numpy(crop.astype(np.float32))[None]


def make_frame(t: int) -> Frame:
    """Return the frame ``(360, 480, 3)`` at time ``t``: a textured target over a textured ground."""
    y, x, c = np.meshgrid(np.arange(360), np.arange(480), np.arange(3), indexing="ij")
    cx, cy = 200 + 6 * t, 150 + 4 * t
    ground = 127.5 + 90 * np.sin(x / 17 + 0.3 * c) * np.cos(y / 23 - 0.2 * c)
    target = 127.5 + 120 * np.sin((x - cx) / 5 + c) * np.sin((y - cy) / 4 - c)
    inside = (np.abs(x - cx) <= 30) & (np.abs(y - cy) <= 20)
    return np.rint(np.where(inside, target, ground)).astype(np.uint8)


def published_model(name: str, released_layout: bool = True) -> TCTrack:
    """Return a published network with the deterministic weights."""
    model = build_model(name, released_layout=released_layout)
    assert isinstance(model, TCTrack)
    fill(model)
    return model.eval()


def tiny_config(name: str, **options: Any) -> TCTrackConfig:
    """Return the configuration of a narrow network for small crops: 3 × 3 template cells, a 4 × 4 grid."""
    return TCTrackConfig(
        calibration="attention" if name == "tctrack++" else "window",
        head_channels=(16, 8),
        tracking=GOLDEN_TRACKING,
        template_size=103,
        search_size=151,
        trunk_channels=(4, 4, 16, 16, 16),
        dim=16,
        heads=2,
        feedforward=32,
        **options,
    )


def tiny_model(name: str, **options: Any) -> TCTrack:
    """Return a narrow network, all of whose parts do something."""
    model = TCTrack(tiny_config(name, **options))
    fill(model)
    return model.eval()
