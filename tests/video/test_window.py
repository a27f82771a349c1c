from __future__ import annotations

import cv2
import numpy as np
import pytest

from tctrack.errors import BoxError, DependencyError, OutputError
from tctrack.video import Window, check_display, select_box

FRAME = np.zeros((20, 30, 3), np.uint8)


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """A pretended display; ``key`` is what the user presses, ``box`` what they draw."""
    state: dict[str, object] = {"key": -1, "visible": 1.0, "box": (1, 2, 3, 4), "open": 0, "shown": 0}

    def count(name: str, step: int) -> object:
        return lambda *_: state.__setitem__(name, int(str(state[name])) + step)

    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "GUI:   QT5")
    monkeypatch.setattr(cv2, "namedWindow", count("open", 1))
    monkeypatch.setattr(cv2, "destroyWindow", count("open", -1))
    monkeypatch.setattr(cv2, "imshow", count("shown", 1))
    monkeypatch.setattr(cv2, "resizeWindow", lambda *_: None)
    monkeypatch.setattr(cv2, "waitKey", lambda _: state["key"])
    monkeypatch.setattr(cv2, "getWindowProperty", lambda *_: state["visible"])
    monkeypatch.setattr(cv2, "selectROI", lambda *_, **__: state["box"])
    return state


def test_no_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    for attempt in (lambda: check_display("x"), lambda: Window("x"), lambda: select_box(FRAME)):
        with pytest.raises(OutputError, match="needs a display"):
            attempt()


def test_a_build_without_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI:                           NONE\n")
    with pytest.raises(DependencyError, match=r"\.\[gui\]"):
        check_display("--show")


@pytest.mark.parametrize(
    ("key", "visible", "goes_on"),
    [(-1, 1, True), (ord("q"), 1, False), (27, 1, False), (ord("x"), 1, True), (-1, 0, False)],
)
def test_what_ends_a_window(screen: dict[str, object], key: int, visible: float, goes_on: bool) -> None:
    screen.update(key=key, visible=visible)
    with Window("title") as window:
        assert screen["open"] == 1
        assert window.show(FRAME) is goes_on
    assert (screen["open"], screen["shown"]) == (0, 1)


def test_drawing_a_box(screen: dict[str, object]) -> None:
    assert select_box(FRAME) == (1, 2, 3, 4)
    assert screen["open"] == 0
    screen["box"] = (0, 0, 0, 0)
    with pytest.raises(BoxError, match="no box was drawn"):
        select_box(FRAME)
    assert screen["open"] == 0
