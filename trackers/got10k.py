"""Our trackers under the got10k toolkit: ``ExperimentOTB(...).run(Got10kTracker("tctrack-lite"))``.

Source of the contract: https://github.com/got-10k/toolkit, ``got10k/trackers``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from got10k.trackers import Tracker as ToolkitTracker
from numpy.typing import ArrayLike

from tctrack.types import Box, Frame
from trackers.registry import build_tracker


class Got10kTracker(ToolkitTracker):  # type: ignore[misc]
    """A registered tracker as the toolkit wants it. All but MIL are deterministic: one repetition is enough.

    Args:
        name: registered name; also the name of the toolkit's result folder.
        options: passed to :func:`trackers.build_tracker`.
    """

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name=name, is_deterministic=name != "mil")
        self._tracker = build_tracker(name, **options)

    def init(self, image: ArrayLike, box: Sequence[float]) -> None:
        """Start on an RGB image (PIL or ``(H, W, 3)`` uint8) with a box in pixels."""
        self._tracker.init(_bgr(image), box)

    def update(self, image: ArrayLike) -> Box:
        """Find the target in the next RGB image."""
        return self._tracker.update(_bgr(image)).box


def _bgr(image: ArrayLike) -> Frame:
    return np.ascontiguousarray(np.asarray(image, np.uint8)[..., ::-1])
