"""Video in and out: sources, sinks, overlay and windows. Frames are ``(H, W, 3)`` uint8 in BGR order."""
# ruff: noqa: E402 (without OpenCV, its absence is what to say first)

from __future__ import annotations

from tctrack.errors import require

require("cv2", "headless", "'.[gui]' for windows")

from tctrack.video.images import decode_image, read_image
from tctrack.video.overlay import Overlay, contact_sheet, draw_box
from tctrack.video.session import Record, Session
from tctrack.video.sinks import BoxSink, FrameSink, JsonlSink, VideoSink, open_picture_sink, write_picture
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
    "decode_image",
    "draw_box",
    "open_picture_sink",
    "open_source",
    "read_image",
    "select_box",
    "write_picture",
]
