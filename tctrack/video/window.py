"""Windows, where there is a display and an OpenCV build that can open one."""

from __future__ import annotations

import os
import re
import sys
import time
from typing import Any

import cv2

from tctrack.errors import BoxError, DependencyError, OutputError
from tctrack.types import Box, Frame
from tctrack.video.overlay import DARK, WHITE, Overlay, draw_box, draw_plate, target_colour
from tctrack.video.session import Session
from tctrack.video.sinks import DEFAULT_FPS
from tctrack.video.sources import Source

ESCAPE = 27
QUIT_KEYS = {ord("q"), ESCAPE}
ENTER_KEYS = {10, 13}
#: What the arrow keys move the pointer by, right and down: their codes with X11, Windows and macOS.
ARROWS = {
    **dict.fromkeys((0xFF51, 0x250000, 0xF702), (-1, 0)),
    **dict.fromkeys((0xFF52, 0x260000, 0xF700), (0, -1)),
    **dict.fromkeys((0xFF53, 0x270000, 0xF703), (1, 0)),
    **dict.fromkeys((0xFF54, 0x280000, 0xF701), (0, 1)),
}
#: Milliseconds between two looks at the mouse while a picture stands still.
TICK = 20
#: A drag of fewer pixels is a click.
MIN_DRAG = 4
HELP = (
    "drag: draw a box around a target",
    "arrows, Enter: the same without a mouse, from corner to corner",
    "n: another target",
    "r: draw again the target under the mouse, or the newest",
    "d: drop the target under the mouse, or the newest",
    "space: pause   s: one frame on",
    ". faster   , slower (files)",
    "h: help   q: end",
)

# Qt's warnings of missing fonts and plugins are of no use to who looks at the window.
os.environ.setdefault("QT_LOGGING_RULES", "*=false")


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


class Window:
    """A resizable window as a context manager.

    Raises:
        OutputError, DependencyError: see :func:`check_display`.
    """

    def __init__(self, title: str) -> None:
        check_display("a window")
        self.title = title
        self.closed = False
        self._new = True

    def __enter__(self) -> Window:
        cv2.namedWindow(self.title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the window; does nothing the second time."""
        if not self.closed:
            cv2.destroyWindow(self.title)
        self.closed = True

    def poll(self, frame: Frame, milliseconds: int = 1) -> int | None:
        """Show a frame for some time at most; return the key that was pressed, or None. A closed window gives Esc."""
        if self._new:
            cv2.resizeWindow(self.title, min(frame.shape[1], 1280), min(frame.shape[0], 720))
            self._new = False
        cv2.imshow(self.title, frame)
        key = cv2.waitKeyEx(milliseconds)
        if cv2.getWindowProperty(self.title, cv2.WND_PROP_VISIBLE) < 1:
            return ESCAPE
        return None if key < 0 else key if key in ARROWS else key & 0xFFFF  # above are Shift, Num Lock, …

    def show(self, frame: Frame) -> bool:
        """Show a frame; return False once the user pressed q or Esc, or closed the window."""
        return self.poll(frame) not in QUIT_KEYS


class Operator:
    """Lets who sits before the window steer a session by mouse and keys; see ``HELP``.

    The picture stands still while a box is drawn and while it is paused. A live source is held then, and what came in
    the meantime is run through quickly, so that the target is caught up with.

    Args:
        window: an open window.
        session: its targets are added and dropped.
        source: where the frames come from.
        overlay: draws the records.
    """

    def __init__(self, window: Window, session: Session, source: Source, overlay: Overlay) -> None:
        self._window, self._session, self._source, self._overlay = window, session, source, overlay
        self._press: tuple[int, int] | None = None
        self._pointer = (0, 0)
        self._heading: tuple[int, int] | None = None  # of the arrow key that moves the pointer, and how often by now
        self._moves = 0
        self._drawn: Box | None = None
        self._wanted = not session.ids
        self._again: int | None = None
        self._paused = self._help = False
        self._speed = 1.0
        self._word = ""
        self._last: float | None = None
        self._due = time.monotonic()
        cv2.setMouseCallback(window.title, self._on_mouse)

    def attend(self, frame: Frame, fps: float | None) -> bool:
        """Show the source's last frame until the next is due, and do what the user asks; False once they end the run.

        Targets may come and go on this frame, so step the session on it again.

        Args:
            frame: ``(H, W, 3)``, uint8, BGR.
            fps: the tracker's speed, to be shown.
        """
        live, held, on = self._source.info.live, False, False
        self._due = max(self._due + self._interval(), time.monotonic())
        while not on:
            if self._is_still() and not held:
                self._source.hold()
                held = True
            left = 0.0 if live else self._due - time.monotonic()
            wait = TICK if held else max(1, min(TICK, round(left * 1e3)))
            key = self._window.poll(self._picture(frame, fps), wait)
            if key in QUIT_KEYS and not self._cancel(key):
                return False
            stepped = key is not None and self._obey(key, frame)
            if self._drawn:
                self._start(frame)
            due = live or self._due - time.monotonic() < 1e-3
            on = stepped or (due and not self._is_still())
        if held:
            self._source.resume()
        return True

    def _is_still(self) -> bool:
        """Tell whether the picture shall stay."""
        return self._paused or self._press is not None or (self._wanted and not self._source.info.live)

    def _interval(self) -> float:
        """Return the seconds from the last frame to this one at the speed asked for; 0 for a live source."""
        if self._source.info.live:
            return 0.0
        now, before = self._source.time, self._last
        self._last = now
        step = 1 / (self._source.info.fps or DEFAULT_FPS) if now is None or before is None else max(now - before, 0)
        return step / self._speed

    def _obey(self, key: int, frame: Frame) -> bool:
        """Do what a key asks; return whether the next frame is asked for."""
        letter = chr(key)
        if key in ARROWS:
            self._move(ARROWS[key], frame)
        elif key in ENTER_KEYS:
            event = cv2.EVENT_LBUTTONDOWN if self._press is None else cv2.EVENT_LBUTTONUP
            self._on_mouse(event, *self._pointer, 0, None)
        elif letter == " ":
            self._paused = not self._paused
        elif letter == "s":
            self._paused = True
            return True
        elif letter == "n":
            self._wanted, self._again = True, None
        elif letter == "h":
            self._help = not self._help
        elif letter in ".,":
            self._speed = min(max(self._speed * (2 if letter == "." else 0.5), 1 / 16), 16)
        elif letter in "rd" and self._session.ids:
            target = self._chosen(frame)
            if letter == "d":
                self._session.drop(target)
            else:
                self._wanted, self._again = True, target
        return False

    def _cancel(self, key: int | None) -> bool:
        """Let Esc stop the drawing of a box rather than the run; return whether it did."""
        drawing = self._press is not None or (self._wanted and bool(self._session.ids))
        if key != ESCAPE or not drawing or self._window.closed:
            return False
        self._press, self._again, self._wanted = None, None, not self._session.ids
        return True

    def _chosen(self, frame: Frame) -> int:
        """Return the target under the mouse, or the newest."""
        x, y = self._pointer
        records = self._session.step(frame, self._source.number, self._source.time)
        under = [r.id for r in records if 0 <= x - r.box.x <= r.box.w and 0 <= y - r.box.y <= r.box.h]
        return max(under or self._session.ids)

    def _start(self, frame: Frame) -> None:
        assert self._drawn is not None
        box, self._drawn = self._drawn, None
        try:
            self._session.add(frame, box, self._again)
        except BoxError as error:
            self._word = str(error)
            return
        self._wanted, self._again, self._word = False, None, ""

    def _move(self, heading: tuple[int, int], frame: Frame) -> None:
        """Move the pointer by an arrow key, faster as it repeats; first from the picture's centre."""
        size = frame.shape[1::-1]
        self._moves = self._moves + 1 if heading == self._heading else 1
        self._heading = heading
        start = self._pointer if any(self._pointer) else (size[0] // 2, size[1] // 2)
        far = min(2 * self._moves, 40)
        x, y = (min(max(at + far * by, 1), end - 1) for at, by, end in zip(start, heading, size, strict=True))
        self._pointer = x, y

    def _on_mouse(self, event: int, x: int, y: int, flags: int, _: Any) -> None:
        self._heading = self._heading if (x, y) == self._pointer else None
        self._pointer = x, y
        if event == cv2.EVENT_LBUTTONDOWN:
            self._press = x, y
        elif event == cv2.EVENT_LBUTTONUP and self._press:
            box = self._rubber_band()
            self._press = None
            if min(box.w, box.h) >= MIN_DRAG:
                self._drawn = box

    def _rubber_band(self) -> Box:
        assert self._press is not None
        (x, y), (to_x, to_y) = self._press, self._pointer
        return Box(min(x, to_x), min(y, to_y), abs(to_x - x), abs(to_y - y))

    def _picture(self, frame: Frame, fps: float | None) -> Frame:
        records = self._session.step(frame, self._source.number, self._source.time)
        picture = self._overlay.draw(frame, records, fps)
        height = picture.shape[0]
        if self._press is not None:
            colour = target_colour(self._again or max(self._session.ids, default=0) + 1)
            draw_box(picture, self._rubber_band(), colour=colour)
        if self._heading is not None:
            for colour, width in ((DARK, 3), (WHITE, 1)):
                cv2.drawMarker(picture, self._pointer, colour, cv2.MARKER_CROSS, round(height / 24), width)
        words = [self._word] if self._word else []
        if self._wanted:
            other = bool(self._session.ids) and self._again is None
            words.append(f"drag a box around {'another' if other else 'the'} target")
        if self._paused:
            words.append("paused")
        if self._speed != 1:
            words.append(f"{self._speed:g}x")
        unit = max(min(picture.shape[:2]) / 720, 0.75)
        for row, line in enumerate(HELP if self._help else ()):
            draw_plate(picture, line, (8 * unit, (48 + 38 * row) * unit))
        draw_plate(picture, "   ".join(words) or "h: help", (8 * unit, height - 8 * unit), above=True)
        return picture
