"""TCTrack: online single-object tracking for drones with temporally adaptive convolutions.

Names load on first use, so that ``import tctrack`` (and every ``--help``) stays instant.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tctrack.checkpoint.load import load_model
    from tctrack.config import build, load_config
    from tctrack.errors import TCTrackError
    from tctrack.types import Box, TrackResult

__version__ = "0.1.0"
__all__ = ["Box", "TCTrackError", "TrackResult", "build", "load_config", "load_model"]

_HOME = {
    "Box": "tctrack.types",
    "TCTrackError": "tctrack.errors",
    "TrackResult": "tctrack.types",
    "build": "tctrack.config",
    "load_config": "tctrack.config",
    "load_model": "tctrack.checkpoint.load",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'tctrack' has no attribute '{name}'")
