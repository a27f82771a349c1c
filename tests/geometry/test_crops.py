from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tctrack.geometry.crops import crop_square, crop_subpixel, mean_colour, whole_square
from tctrack.types import Frame


def crop_from_padded_frame(frame: Frame, centre: tuple[float, float], side: int, output_side: int) -> Frame:
    """Pad the whole frame generously with its mean colour, then slice."""
    margin = 300
    padded = np.empty((frame.shape[0] + 2 * margin, frame.shape[1] + 2 * margin, 3), np.uint8)
    padded[:] = frame.mean((0, 1)).astype(np.uint8)
    padded[margin:-margin, margin:-margin] = frame
    left, top = (int(np.floor(c - (side + 1) / 2 + 0.5)) + margin for c in centre)
    square = padded[top : top + side, left : left + side]
    return np.asarray(cv2.resize(square, (output_side, output_side)), np.uint8)


@settings(max_examples=150, deadline=None)
@given(
    width=st.integers(2, 60),
    height=st.integers(2, 60),
    centre=st.tuples(st.floats(-120, 180), st.floats(-120, 180)),
    side=st.integers(1, 150),
    output_side=st.sampled_from([15, 31, 64]),
)
def test_equals_padding_the_whole_frame(
    width: int, height: int, centre: tuple[float, float], side: int, output_side: int
) -> None:
    frame = np.random.default_rng(width * height).integers(0, 256, (height, width, 3), np.uint8)
    found = crop_square(frame, centre, side, output_side, mean_colour(frame))
    assert np.array_equal(found, crop_from_padded_frame(frame, centre, side, output_side))


def test_the_crop_is_a_copy() -> None:
    frame = np.zeros((40, 40, 3), np.uint8)
    crop_square(frame, (20, 20), 15, 15, mean_colour(frame))[:] = 255
    assert not frame.any()


@pytest.mark.parametrize("centre", [(30.0, 24.0), (30.25, 24.5), (29.9, 14.3)])
@pytest.mark.parametrize("side", [20.0, 32.7])
def test_a_subpixel_crop_maps_positions_exactly(centre: tuple[float, float], side: float) -> None:
    """On a ramp, a bilinear sample says where it was taken."""
    x, y = np.meshgrid(np.arange(60) + 0.5, np.arange(50) + 0.5)
    frame = np.stack((4 * x, 4 * y, np.zeros_like(x)), -1).astype(np.uint8)
    crop = crop_subpixel(frame, centre, side, 40, mean_colour(frame))
    place = (np.arange(40) + 0.5) * side / 40 - side / 2
    inside = slice(14, 26)
    np.testing.assert_allclose(crop[20, inside, 0], 4 * (centre[0] + place[inside]), atol=1.6)
    np.testing.assert_allclose(crop[inside, 20, 1], 4 * (centre[1] + place[inside]), atol=1.6)


def test_a_subpixel_crop_fills_what_lies_outside() -> None:
    frame = np.full((10, 10, 3), 200, np.uint8)
    crop = crop_subpixel(frame, (0.0, 5.0), 8.0, 16, np.array([1, 2, 3], np.uint8))
    assert crop[8, 0].tolist() == [1, 2, 3]
    assert crop[8, 15].tolist() == [200, 200, 200]


@settings(max_examples=100, deadline=None)
@given(centre=st.tuples(st.floats(40, 120), st.floats(40, 90)), side=st.floats(0.2, 120))
def test_a_square_of_whole_pixels_is_next_to_the_one_asked_for_and_is_cut_alike(
    centre: tuple[float, float], side: float
) -> None:
    whole, whole_side = whole_square(centre, side)
    assert abs(whole_side - side) <= 0.8
    assert np.abs(np.subtract(whole, centre)).max() <= 0.5
    assert all((position - whole_side / 2).is_integer() for position in whole)

    rows, columns = np.mgrid[:130, :160]
    frame = np.stack((columns, rows, (3 * columns + 2 * rows) // 5), -1).astype(np.uint8)
    fill = mean_colour(frame)
    crop = crop_subpixel(frame, whole, whole_side, 32, fill)
    by_warp = crop_subpixel(frame, (whole[0] + 1e-9, whole[1]), whole_side, 32, fill)
    edge = max(1, math.ceil(16 / whole_side))  # resizing knows nothing of what lies about the square
    inside = np.s_[edge:-edge, edge:-edge]
    np.testing.assert_allclose(crop[inside].astype(int), by_warp[inside].astype(int), atol=1)


def test_the_mean_is_truncated() -> None:
    frame = np.zeros((1, 2, 3), np.uint8)
    frame[0, 1] = (1, 3, 5)
    assert mean_colour(frame).tolist() == [0, 1, 2]
