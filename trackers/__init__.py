"""Runtime trackers behind one protocol: ``init(frame, box)``, ``update(frame) -> TrackResult``, ``reset()``."""

from __future__ import annotations

from trackers.base import Tracker
from trackers.registry import TRACKERS, build_tracker, tracker_factory

__all__ = ["TRACKERS", "Tracker", "build_tracker", "tracker_factory"]
