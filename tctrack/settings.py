"""The settings of a tracker, which networks carry and trackers read."""

from __future__ import annotations

from dataclasses import dataclass

from tctrack.config import Amount, Share


@dataclass(frozen=True)
class TrackerSettings:
    """How far a tracker trusts the network against smooth motion (SiamRPN, CVPR 2018, section 4.3)."""

    penalty_k: Amount
    """Strength of the penalty on a change of size or shape."""
    window_influence: Share
    """Weight of the cosine window against the score, 0 to 1."""
    lr: Share
    """Rate at which the size follows the chosen box, 0 to 1."""
    subpixel: bool = False
    """Cut crops exactly about the estimate; the published trackers round them to whole pixels."""
    motion: Share = 0.0
    """Rate at which the target's velocity over the ground follows, 0 to 1. It is then sought where this velocity and
    the camera's motion take it; at 0, as published, where it was last seen."""
    lost: Share = 0.0
    """A target with a lower score is taken for hidden, and is carried on by its motion for a while; 0: never."""
    found: Share = 0.0
    """Score with which a hidden target comes back."""
