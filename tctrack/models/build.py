"""Tracking networks by name."""

from __future__ import annotations

from typing import Any

from tctrack.config import build, load_config
from tctrack.models.base import TrackingModel
from tctrack.models.lite import LiteConfig, TCTrackLite
from tctrack.models.tctrack import TCTrack, TCTrackConfig
from tctrack.registry import Registry

#: Every tracking network that can be named; a factory takes the fields of the network's configuration.
MODELS: Registry[TrackingModel] = Registry("model")


@MODELS.register("tctrack-lite")
def _tctrack_lite(**options: Any) -> TCTrackLite:
    return TCTrackLite(build(LiteConfig, options))


@MODELS.register("tctrack")
def _tctrack(**options: Any) -> TCTrack:
    return TCTrack(build(TCTrackConfig, {**load_config("model/tctrack"), **options}))


@MODELS.register("tctrack++")
def _tctrack_pp(**options: Any) -> TCTrack:
    return TCTrack(build(TCTrackConfig, {**load_config("model/tctrack_pp"), **options}))


def build_model(name: str, **options: Any) -> TrackingModel:
    """Build an untrained network; ``options`` change fields of its configuration.

    Raises:
        ConfigError: no network has this name, or its configuration lacks an option.
    """
    return MODELS[name](**options)
