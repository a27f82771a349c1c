from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import box as rectangle

from tctrack.errors import BoxError
from tctrack.geometry.boxes import check_box, context_side, has_area, iou

numbers = st.floats(-100, 100)
sides = st.floats(0.1, 100)
boxes = st.tuples(numbers, numbers, sides, sides)


@given(boxes, boxes)
def test_iou_equals_the_polygons(first: tuple[float, ...], second: tuple[float, ...]) -> None:
    a, b = (rectangle(x, y, x + w, y + h) for x, y, w, h in (first, second))
    assert iou(first, second) == pytest.approx(a.intersection(b).area / a.union(b).area, abs=1e-9)
    assert iou(first, second) == iou(second, first)
    assert iou(first, first) == pytest.approx(1)


def test_boxes_without_area_overlap_nothing_and_nan_stays() -> None:
    np.testing.assert_array_equal(iou([[0, 0, 0, 0], [np.nan, 0, 1, 1]], [[0, 0, 0, 0], [0, 0, 1, 1]]), [0, np.nan])


@pytest.mark.parametrize("box", [(0, 0, 5, 5), (-4, -4, 5, 5), (99, 79, 50, 50)])
def test_boxes_that_touch_the_frame_are_taken(box: tuple[float, ...]) -> None:
    assert tuple(check_box(box, (100, 80))) == box


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ((1, 2, 3), "four finite numbers"),
        ((1, 2, 3, math.nan), "four finite numbers"),
        ((1, 2, math.inf, 4), "four finite numbers"),
        ((1, 2, 0, 4), "has no area"),
        ((1, 2, 3, -4), "has no area"),
        ((100, 2, 3, 4), "outside the 100x80 frame"),
        ((-9, 2, 9, 4), "outside the 100x80 frame"),
        ((0.4, 0.3, 0.2, 0.5), "smaller than a pixel"),
        ((0, 0, 1e300, 1e300), "far larger than the 100x80 frame"),
        ("1,2", "four finite numbers"),
        (None, "four finite numbers"),
        (((1, 2, 3, 4),), "four finite numbers"),
    ],
)
def test_other_boxes_are_refused(box: Any, message: str) -> None:
    with pytest.raises(BoxError, match=message):
        check_box(box, (100, 80))


def test_only_finite_boxes_with_an_area_are_targets() -> None:
    boxes = [(-5, 3, 1, 2), (0, 0, 0, 2), (0, 0, 2, -1), (math.nan, 0, 1, 1), (0, 0, math.inf, 1)]
    assert has_area(boxes).tolist() == [True, False, False, False, False]


def test_the_context_of_numbers_and_of_arrays() -> None:
    assert context_side(30, 30) == pytest.approx(60)
    assert context_side(61, 41) == pytest.approx(np.sqrt((61 + 51) * (41 + 51)))
    sides = context_side(np.array([30.0, 61.0]), np.array([30.0, 41.0]))
    assert sides.tolist() == [context_side(30.0, 30.0), context_side(61.0, 41.0)]
