"""Video in and out: sources, sinks, overlay and windows. Frames are ``(H, W, 3)`` uint8 in BGR order."""
# ruff: noqa: E402 (without OpenCV, its absence is what to say first)

from __future__ import annotations

from tctrack.errors import require

require("cv2", "headless", "'.[gui]' for windows")

from tctrack.video.images import decode_image, read_image
from tctrack.video.overlay import Overlay, contact_sheet, draw_box, target_colour
from tctrack.video.session import Record, Session
from tctrack.video.sinks import FrameSink, VideoSink, open_picture_sink, write_picture
from tctrack.video.sources import Source, VideoInfo, open_source
from tctrack.video.tables import (
    BoxSink,
    CocoSink,
    CsvSink,
    CvatSink,
    JsonlSink,
    MavlinkSink,
    MotSink,
    PipeSink,
    UdpSink,
    open_jsonl,
)
from tctrack.video.window import Operator, Window, check_display

__all__ = [
    "BoxSink", "CocoSink", "CsvSink", "CvatSink", "FrameSink", "JsonlSink", "MavlinkSink", "MotSink", "Operator",
    "Overlay", "PipeSink", "Record", "Session", "Source", "UdpSink", "VideoInfo", "VideoSink", "Window",
    "check_display", "contact_sheet", "decode_image", "draw_box", "open_jsonl", "open_picture_sink", "open_source",
    "read_image", "target_colour", "write_picture",
]  # fmt: skip
