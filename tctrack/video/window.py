"""Windows, where there is a display and an OpenCV build that can open one."""

from __future__ import annotations

import os
import re
import sys

import cv2

from tctrack.errors import BoxError, DependencyError, OutputError
from tctrack.types import Box, Frame

QUIT_KEYS = {ord("q"), 27}


def check_display(purpose: str) -> None:
    """Make sure that a window can be opened; OpenCV itself aborts the process where there is no display.

    Args:
        purpose: what needs the window, for the message.

    Raises:
        OutputError: there is no display.
        DependencyError: this OpenCV build has no windows.
    """
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise OutputError(f"{purpose} needs a display, and neither DISPLAY nor WAYLAND_DISPLAY is set")
    if re.search(r"GUI:\s+NONE", cv2.getBuildInformation()):
        raise DependencyError(
            f"{purpose} needs OpenCV with windows; pip uninstall opencv-python-headless, then pip install"
            " '.[gui]' in a clone of this project"
        )


def select_box(frame: Frame) -> Box:
    """Let the user draw the target's box on a frame; Enter or Space accepts.

    Raises:
        BoxError: the user drew none.
        OutputError, DependencyError: see :func:`check_display`.
    """
    check_display("drawing the target's box")
    title = "Draw a box around the target, then press Enter"
    with Window(title) as window:
        window.show(frame)
        box = Box(*map(float, cv2.selectROI(title, frame, showCrosshair=False, printNotice=False)))
    if not box.w or not box.h:
        raise BoxError("no box was drawn")
    return box


class Window:
    """A resizable window as a context manager.

    Raises:
        OutputError, DependencyError: see :func:`check_display`.
    """

    def __init__(self, title: str) -> None:
        check_display("a window")
        self._title = title
        self._new = True

    def __enter__(self) -> Window:
        cv2.namedWindow(self._title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
        return self

    def __exit__(self, *error: object) -> None:
        cv2.destroyWindow(self._title)

    def show(self, frame: Frame) -> bool:
        """Show a frame; return False once the user pressed q or Esc, or closed the window."""
        if self._new:
            cv2.resizeWindow(self._title, min(frame.shape[1], 1280), min(frame.shape[0], 720))
            self._new = False
        cv2.imshow(self._title, frame)
        if cv2.waitKey(1) & 0xFF in QUIT_KEYS:
            return False
        return bool(cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) >= 1)
