"""Learning rates and seeds by the step of a training."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np


def schedule(
    time: float,
    length: float,
    warmup: float,
    *,
    start: float = 0.0,
    end: float = 0.0,
    decay: Literal["cosine", "log"] = "cosine",
) -> float:
    """Return the share of the highest learning rate: linear warm-up, then cosine or logarithmic decay.

    Args:
        time: since the start of training, in steps or epochs.
        length: of the training, in the same unit.
        warmup: end of the warm-up.
        start: share that the warm-up begins with.
        end: share at the end; above 0 for ``log``.
        decay: form of the decay.
    """
    if time < warmup:
        return start + (1 - start) * time / warmup
    progress = min(1.0, (time - warmup) / max(length - warmup, 1e-9))
    if decay == "log":
        return float(end**progress)
    return end + (1 - end) * 0.5 * (1 + math.cos(math.pi * progress))


def derive_seed(*numbers: int) -> int:
    """Return a seed for PyTorch that depends on all the numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
