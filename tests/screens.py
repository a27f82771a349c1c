"""A pretended screen: OpenCV's windows by a script of keys and mouse events."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import cv2
import pytest

from tctrack.types import Frame

DOWN, MOVE, UP = cv2.EVENT_LBUTTONDOWN, cv2.EVENT_MOUSEMOVE, cv2.EVENT_LBUTTONUP
#: A key, a mouse event with x and y, something to call, or nothing for one look at the keyboard.
Step = str | tuple[int, int, int] | Callable[[], object] | None


def drag(x: int, y: int, to_x: int, to_y: int) -> list[Step]:
    return [(MOVE, x, y), (DOWN, x, y), (MOVE, to_x, to_y), (UP, to_x, to_y)]


class Screen:
    """``shown`` holds the pictures, one for each step of the script."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, script: Iterable[Step] = ()) -> None:
        self.shown: list[Frame] = []
        self.script: Iterator[Step] = iter(script)
        self.open = 0
        self.visible = 1.0
        self._mouse: Any = None
        monkeypatch.setenv("DISPLAY", ":0")
        monkeypatch.setattr(cv2, "getBuildInformation", lambda: "GUI:   QT5")
        monkeypatch.setattr(cv2, "namedWindow", lambda *_: self._count(1))
        monkeypatch.setattr(cv2, "destroyWindow", lambda *_: self._count(-1))
        monkeypatch.setattr(cv2, "resizeWindow", lambda *_: None)
        monkeypatch.setattr(cv2, "imshow", lambda _, picture: self.shown.append(picture))
        monkeypatch.setattr(cv2, "setMouseCallback", lambda _, callback: setattr(self, "_mouse", callback))
        monkeypatch.setattr(cv2, "getWindowProperty", lambda *_: self.visible)
        monkeypatch.setattr(cv2, "waitKeyEx", lambda _: self._next())

    def _count(self, step: int) -> None:
        self.open += step

    def _next(self) -> int:
        step = next(self.script, None)
        if isinstance(step, str):
            return ord(step)
        if isinstance(step, tuple):
            self._mouse(*step, 0, None)
        elif step:
            step()
        return -1
