"""What a tracker knows of its target's presence."""

from __future__ import annotations

import numpy as np
import pytest

from tctrack.types import Frame
from trackers import presence
from trackers.presence import DOUBT, PATIENCE, TRUST, Presence, begin, observe, update

SIDE, CELLS, BOX = 64, 16, (0.0, 0.0, 20.0, 20.0)
BOXES = np.tile(BOX, (CELLS, 1))
SHARP, FLAT = np.array([0.6] + [0.001] * (CELLS - 1)), np.full(CELLS, 0.05)


def crop(colour: tuple[int, int, int]) -> Frame:
    """A square of a colour in the middle of a grey crop."""
    picture = np.full((SIDE, SIDE, 3), 100, np.uint8)
    picture[22:42, 22:42] = colour
    return picture


RED, BLUE = crop((20, 20, 230)), crop((230, 20, 20))


def after(state: Presence, frames: int, scores: np.ndarray, picture: Frame = RED, guessed: bool = False) -> Presence:
    for _ in range(frames):
        state = update(state, picture, BOXES, scores, 0, guessed)
    return state


def test_what_a_frame_tells() -> None:
    colours = begin(RED, (20, 20)).colours
    assert colours.sum() == pytest.approx(1)
    np.testing.assert_allclose(observe(colours, RED, BOXES[0], FLAT, 0.5), (0, 1, 1), atol=1e-9)
    score, entropy, likeness = observe(colours, BLUE, BOXES[0], np.eye(CELLS)[0], 0.9)
    assert (score, entropy, likeness) == pytest.approx((np.log(9), 0, 0), abs=1e-9)
    assert observe(colours, RED, BOXES[0], np.zeros(CELLS), 0.0)[1] == pytest.approx(1)
    assert observe(colours, RED, np.array((500.0, 0, 20, 20)), FLAT, 0.5)[2] == 0


def test_a_target_goes_and_comes_back() -> None:
    there = after(begin(RED, (20, 20)), 60, SHARP)
    assert there.confidence > TRUST
    assert there.state == "tracked"
    gone = after(there, 10, FLAT, BLUE)
    assert gone.confidence < DOUBT
    assert gone.state == "hidden"
    assert after(gone, PATIENCE, FLAT, BLUE).state == "lost"
    back = after(after(gone, PATIENCE, FLAT, BLUE), 60, SHARP)
    assert back.confidence > TRUST
    assert back.state == "tracked"


def test_a_guess_hides_a_target_whatever_it_looks_like() -> None:
    there = after(begin(RED, (20, 20)), 60, SHARP)
    assert after(there, 1, SHARP, guessed=True).state == "hidden"


def test_a_doubted_target_must_earn_more_than_it_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the likeness alone as evidence, a probability between the two thresholds keeps the state."""
    monkeypatch.setattr(presence, "CONSTANT", 0.4)  # 0.6
    monkeypatch.setattr(presence, "COEFFICIENTS", np.zeros((2, 3)))
    fresh = begin(RED, (20, 20))
    assert after(fresh, 3, SHARP).state == "tracked"
    assert after(fresh._replace(hidden=1), 3, SHARP).state == "hidden"


def test_another_colour_is_less_likely_the_target() -> None:
    there = after(begin(RED, (20, 20)), 30, SHARP)
    assert after(there, 10, SHARP, BLUE).confidence < after(there, 10, SHARP, RED).confidence
