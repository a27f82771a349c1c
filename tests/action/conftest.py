"""The deterministic weights and clips of the golden values."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn


def make_clip(frames: int, side: int) -> Tensor:
    c, t, y, x = np.meshgrid(*(np.arange(n, dtype=np.float64) for n in (3, frames, side, side)), indexing="ij")
    return torch.from_numpy((np.sin((x + 3 * t) / (5 + c)) * np.cos((y - 2 * t) / (4 + c))).astype(np.float32))[None]


def make_weight(key: str, shape: tuple[int, ...]) -> Tensor:
    if key.endswith("num_batches_tracked"):
        return torch.tensor(0)
    count = int(np.prod(shape))
    seed = zlib.crc32(key.encode()) % 10007
    u = np.modf(np.abs(np.sin(np.arange(1, count + 1) * 12.9898 + seed * 0.618) * 43758.5453))[0] - 0.5
    if key.endswith("running_var"):
        values = 1 + 0.5 * u
    elif key.endswith("running_mean"):
        values = 0.1 * u
    elif len(shape) == 1:
        values = 1 + 0.2 * u if key.endswith(".weight") else 0.1 * u
    else:
        values = u * np.sqrt(4 / (shape[3] * shape[4] * shape[5] if len(shape) == 6 else count / shape[0]))
    return torch.from_numpy(values.astype(np.float32)).view(shape)


@pytest.fixture(scope="session")
def golden_clip() -> Callable[[int, int], Tensor]:
    """``(frames, side)`` gives a clip ``(1, 3, frames, side, side)``."""
    return make_clip


@pytest.fixture(scope="session")
def filled() -> Callable[[nn.Module], nn.Module]:
    """Loads the deterministic weights into a model and returns it in evaluation mode."""

    def fill(model: nn.Module) -> nn.Module:
        model.load_state_dict({key: make_weight(key, tuple(value.shape)) for key, value in model.state_dict().items()})
        return model.eval()

    return fill
