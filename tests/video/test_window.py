from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pytest

from tctrack.errors import DependencyError, OutputError
from tctrack.types import Box, Frame, TrackResult
from tctrack.video import Operator, Overlay, Session, Source, VideoInfo, Window, check_display
from tctrack.video.window import HELP
from tests.screens import DOWN, MOVE, UP, Screen, Step, drag

FRAME = np.zeros((20, 30, 3), np.uint8)
SIZE = (320, 240)


class Still:
    """Stays where it is."""

    def init(self, frame: Frame, box: Sequence[float]) -> None:
        self.box = Box(*box)

    def update(self, frame: Frame) -> TrackResult:
        return TrackResult(self.box, 0.5)


class Film(Source):
    """Black frames, which remembers when it was held and resumed."""

    def __init__(self, count: int, live: bool = False) -> None:
        self.info = VideoInfo(*SIZE, 1000.0, count, live)
        self.log: list[str] = []

    def __iter__(self) -> Iterator[Frame]:
        for number in range(self.info.frames or 0):
            self.number = number
            self.time = self.number / 1000
            yield np.zeros((SIZE[1], SIZE[0], 3), np.uint8)

    def hold(self) -> None:
        self.log.append(f"hold {self.number}")

    def resume(self) -> None:
        self.log.append(f"resume {self.number}")


def play(
    monkeypatch: pytest.MonkeyPatch, script: Iterable[Step], film: Film, session: Session
) -> tuple[Screen, list[list[tuple[int, Box]]]]:
    """Return the screen, and for each frame the targets and their boxes, until the user ends it."""
    screen = Screen(monkeypatch, script)
    seen = []
    with Window("title") as window:
        operator = Operator(window, session, film, Overlay())
        for frame in film:
            on = operator.attend(frame, None)
            seen.append([(record.id, record.box) for record in session.step(frame, film.number)])
            if not on:
                break
    assert screen.open == 0
    return screen, seen


def test_no_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    for attempt in (lambda: check_display("x"), lambda: Window("x")):
        with pytest.raises(OutputError, match="needs a display"):
            attempt()


def test_a_build_without_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    Screen(monkeypatch)
    monkeypatch.setattr("cv2.getBuildInformation", lambda: "  GUI:                           NONE\n")
    with pytest.raises(DependencyError, match=r"'\.\[gui\]'"):
        check_display("--show")


@pytest.mark.parametrize(
    ("key", "visible", "goes_on"),
    [(None, 1, True), ("q", 1, False), ("\x1b", 1, False), ("x", 1, True), (None, 0, False)],
)
def test_what_ends_a_window(monkeypatch: pytest.MonkeyPatch, key: Step, visible: float, goes_on: bool) -> None:
    screen = Screen(monkeypatch, [key])
    screen.visible = visible
    with Window("title") as window:
        assert screen.open == 1
        assert window.show(FRAME) is goes_on
    assert (screen.open, len(screen.shown)) == (0, 1)


def test_a_file_waits_for_the_box(monkeypatch: pytest.MonkeyPatch) -> None:
    script = [None, None, *drag(100, 80, 150, 110)]
    _, seen = play(monkeypatch, script, Film(3), Session(Still))
    assert seen == [[(1, Box(100, 80, 50, 30))]] * 3


def test_a_live_source_goes_on_until_the_mouse_is_pressed(monkeypatch: pytest.MonkeyPatch) -> None:
    """And is held from the very frame that the box is drawn on until it is drawn."""
    film = Film(6, live=True)
    script = [None, None, (DOWN, 150, 110), (MOVE, 120, 90), None, (UP, 100, 80)]
    _, seen = play(monkeypatch, script, film, Session(Still))
    assert seen == [[], [], *[[(1, Box(100, 80, 50, 30))]] * 4]
    assert film.log == ["hold 2", "resume 2"]


def test_targets_are_added_drawn_again_and_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, third = Box(10, 10, 40, 30), Box(100, 100, 40, 30), Box(200, 150, 40, 30)
    script = [
        *drag(10, 10, 50, 40), "n", *drag(100, 100, 140, 130),  # frame 0 to 2
        (MOVE, 20, 20), "r", *drag(200, 150, 240, 180),  # the first, under the mouse, anew
        (MOVE, 0, 0), "d", "d", "d",  # the newest, then the other; a third is not there
    ]  # fmt: skip
    _, seen = play(monkeypatch, script, Film(60), Session(Still))
    states = [seen[0], *(after for before, after in itertools.pairwise(seen) if after != before)]
    assert states == [[(1, first)], [(1, first), (2, second)], [(1, third), (2, second)], [(1, third)], []]


def test_pause_and_step(monkeypatch: pytest.MonkeyPatch) -> None:
    film = Film(5)
    script: list[Step] = [" ", *[None] * 20, lambda: film.log.append(f"still {film.number}"), "s", None]
    script += [lambda: film.log.append(f"stepped {film.number}"), " ", None]
    session = Session(Still)
    session.add(np.zeros((SIZE[1], SIZE[0], 3), np.uint8), (1, 1, 9, 9))
    _, seen = play(monkeypatch, script, film, session)
    assert len(seen) == 5
    assert film.log[:6] == ["hold 0", "still 0", "resume 0", "hold 1", "stepped 1", "resume 1"]


LEFT, UP_KEY, RIGHT, DOWN_KEY, ENTER = map(chr, (0xFF51, 0xFF52, 0xFF53, 0xFF54, 13))


def test_a_box_is_drawn_by_keys_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the picture's centre, with steps that grow while a key is held."""
    script = [LEFT, LEFT, UP_KEY, ENTER, *[RIGHT] * 5, *[DOWN_KEY] * 4, LEFT, ENTER]
    screen, seen = play(monkeypatch, script, Film(1), Session(Still))
    assert seen == [[(1, Box(154, 118, 28, 20))]]
    assert screen.shown[1].sum() > screen.shown[0].sum()  # where the pointer is


def test_escape_leaves_a_box_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    script = [*drag(10, 10, 50, 40), (DOWN, 60, 60), (MOVE, 90, 90), "\x1b", (UP, 90, 90), "q"]
    _, seen = play(monkeypatch, script, Film(50), Session(Still))
    assert all(frame == [(1, Box(10, 10, 40, 30))] for frame in seen)
    assert len(seen) < 50


def test_a_click_is_no_box_and_a_bad_box_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    from tctrack.errors import BoxError

    class Fussy(Still):
        def init(self, frame: Frame, box: Sequence[float]) -> None:
            if box[0] > 300:
                raise BoxError("box 301,… lies outside")
            super().init(frame, box)

    script = [*drag(10, 10, 11, 11), *drag(301, 10, 319, 40), *drag(10, 10, 50, 40)]
    _, seen = play(monkeypatch, script, Film(2), Session(Fussy))
    assert seen == [[(1, Box(10, 10, 40, 30))]] * 2


def test_help_is_drawn_on_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    screen, _ = play(monkeypatch, [None, "h", None, "h", None, "q"], Film(1), Session(Still))
    drawn = [int((picture > 60).sum()) for picture in screen.shown]
    assert drawn[2] > 2 * drawn[1]
    assert drawn[4] == drawn[1]
    assert all(any(f"{key}:" in line for line in HELP) for key in ("n", "r", "d", "space", "s", "h", "q"))


def test_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks at the keyboard that a second of film takes, slow and fast; a look takes no time here."""
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])

    def looks(keys: str) -> int:
        session = Session(Still)
        session.add(np.zeros((SIZE[1], SIZE[0], 3), np.uint8), (1, 1, 9, 9))
        screen = Screen(monkeypatch, keys)
        monkeypatch.setattr("cv2.waitKeyEx", lambda wait: now.__setitem__(0, now[0] + wait / 1e3) or screen._next())
        began = now[0]
        film = Film(1000)
        with Window("title") as window:
            operator = Operator(window, session, film, Overlay())
            for frame in film:
                operator.attend(frame, None)
                if film.number == 500:
                    break
        return round((now[0] - began) * 1e3)

    normal, fast, slow = looks(""), looks("."), looks(",")
    assert fast <= normal < slow
    assert slow == pytest.approx(2 * normal, rel=0.05)
