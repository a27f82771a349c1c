"""Whether the box is on the target: what a frame tells of it, a calibrated probability, and a state with hysteresis.

A score ranks frames, but is no probability, and a look-alike has a score as high as the target's. So the log-odds are
linear in running means, a quick and a slow one, of three things: the score, how spread the map is, and the likeness of
the box's colours to the first ones. ``tools/presence.py`` fits and checks the coefficients.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tctrack.types import FloatArray, Frame, State

#: Rates of the running means.
RATES = np.array([[0.3], [0.1]])
#: Log-odds that the box is on the target: a constant, and for each mean (rows) the coefficients of the score's
#: log-odds, the map's entropy, and the likeness. Fitted to ``tctrack-lite`` on recorded and generated tracks.
CONSTANT = 8.69
COEFFICIENTS = np.array([[0.21, -3.27, 1.65], [-0.54, -20.07, 2.89]])
#: Below ``DOUBT`` a target counts as hidden until its probability exceeds ``TRUST``.
DOUBT, TRUST = 0.5, 0.7
#: A hidden target is carried on by its motion for so many frames; then it is lost.
PATIENCE = 15
#: Levels of each colour channel that are told apart.
LEVELS = 6


class Presence(NamedTuple):
    """What is known of a target's presence; of constant size."""

    colours: FloatArray
    """Shares of the colours in the first box, ``(LEVELS³,)``."""
    evidence: FloatArray
    """Running means of what :func:`observe` returns, ``(2, 3)``."""
    frames: int = 0
    """Frames seen, but the first."""
    hidden: int = 0
    """Frames since the target was last there."""

    @property
    def log_odds(self) -> float:
        """Logarithm of the odds that the box is on the target."""
        return float(CONSTANT + (COEFFICIENTS * self.evidence).sum())

    @property
    def confidence(self) -> float:
        """Probability that the box is on the target."""
        return float(1 / (1 + np.exp(-self.log_odds)))

    @property
    def state(self) -> State:
        """Whether the target is there."""
        if not self.hidden:
            return "tracked"
        return "hidden" if self.hidden <= PATIENCE else "lost"


def begin(crop: Frame, size: tuple[float, float]) -> Presence:
    """Return the presence of a target of (width, height) in the middle of its crop ``(S, S, 3)``, in crop pixels."""
    return Presence(_colours(crop, np.array((0.0, 0.0, *size))), np.zeros((2, 3)))


def update(
    presence: Presence, crop: Frame, boxes: FloatArray, scores: FloatArray, candidate: int, guessed: bool
) -> Presence:
    """Return the presence after a frame.

    Args:
        presence: before it.
        crop: the search crop ``(S, S, 3)``.
        boxes: of the candidates ``(N, 4)``: x, y of the centre from the crop's centre, width, height, in crop pixels.
        scores: of the candidates ``(N,)``, 0–1.
        candidate: the best one.
        guessed: whether the tracker takes none of them, and goes by motion.
    """
    frames = presence.frames + 1
    seen = observe(presence.colours, crop, boxes[candidate], scores, float(scores[candidate]))
    evidence = presence.evidence + np.maximum(RATES, 1 / frames) * (seen - presence.evidence)
    after = presence._replace(evidence=evidence, frames=frames)
    doubted = guessed or after.confidence < (TRUST if presence.hidden else DOUBT)
    return after._replace(hidden=presence.hidden + 1 if doubted else 0)


def observe(colours: FloatArray, crop: Frame, box: FloatArray, scores: FloatArray, score: float) -> FloatArray:
    """Return what a frame tells, ``(3,)``.

    These are the log-odds of the score, the entropy of the map in parts of its maximum, and the Bhattacharyya
    coefficient of the box's colours with the given ones.
    """
    bounded = min(max(score, 1e-4), 1 - 1e-4)
    shares = scores / scores.sum() if scores.sum() > 0 else np.full(scores.shape, 1 / len(scores))
    entropy = -float(shares @ np.log(shares + 1e-12)) / np.log(max(len(scores), 2))
    likeness = float(np.sqrt(_colours(crop, box) * colours).sum())
    return np.array([np.log(bounded / (1 - bounded)), entropy, likeness])


def _colours(crop: Frame, box: FloatArray) -> NDArray[np.float64]:
    """Return the shares of colours in the middle of a box, ``(LEVELS³,)``; all 0 where it lies outside the crop."""
    side = len(crop)
    middle, half = box[:2] + side / 2, 0.35 * box[2:]
    left, top = np.clip(middle - half, 0, side).astype(int)
    right, bottom = np.clip(middle + half, -1, side - 1).astype(int) + 1
    levels = crop[top:bottom, left:right].reshape(-1, 3) // (255 // LEVELS + 1)
    codes = levels @ np.array([LEVELS**2, LEVELS, 1])
    return np.bincount(codes, minlength=LEVELS**3) / max(len(codes), 1)
