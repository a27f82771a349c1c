"""Settings of a tracker; every network has its own."""

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
    """Account for where crops lie exactly; the published trackers round them to whole pixels, and forget it."""
    motion: Share = 0.0
    """Update rate of the target's velocity over the ground, 0 to 1. The search is centred where this velocity and the
    camera's motion predict the target; at 0, as published, where it was last seen."""
    lost: Share = 0.0
    """Below this score a target counts as occluded and coasts on its motion for a while; 0: never."""
    found: Share = 0.0
    """Score at which an occluded target is taken up again."""
