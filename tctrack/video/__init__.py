"""Video in and out: sources, sinks, overlay and windows. Frames are ``(H, W, 3)`` uint8 in BGR order."""

from __future__ import annotations

import importlib.util

from tctrack.errors import DependencyError

if importlib.util.find_spec("cv2") is None:
    raise DependencyError(
        "OpenCV is not installed; pip install 'tctrack-uav[headless]', or 'tctrack-uav[gui]' for windows"
    )

from tctrack.video.overlay import Overlay, contact_sheet, draw_box
from tctrack.video.session import Record, Session
from tctrack.video.sinks import BoxSink, FrameSink, JsonlSink, VideoSink, open_picture_sink
from tctrack.video.sources import Source, VideoInfo, open_source
from tctrack.video.window import Window, check_display, select_box

__all__ = [
    "BoxSink",
    "FrameSink",
    "JsonlSink",
    "Overlay",
    "Record",
    "Session",
    "Source",
    "VideoInfo",
    "VideoSink",
    "Window",
    "check_display",
    "contact_sheet",
    "draw_box",
    "open_picture_sink",
    "open_source",
    "select_box",
]
