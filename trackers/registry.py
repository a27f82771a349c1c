"""Trackers by name."""

from __future__ import annotations

from typing import Any

from tctrack.registry import Registry
from trackers.base import Tracker

#: Every tracker that can be named on the command line.
TRACKERS: Registry[Tracker] = Registry("tracker")


def build_tracker(name: str, **options: Any) -> Tracker:
    """Build a registered tracker.

    Raises:
        ConfigError: no tracker has this name.
        DependencyError: the tracker needs an OpenCV build, package or model file that is not there.
    """
    return TRACKERS[name](**options)
