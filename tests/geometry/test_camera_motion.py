from __future__ import annotations

import cv2
import numpy as np
import pytest

from tctrack.geometry.camera_motion import follow_camera, thumbnail
from tctrack.scenes.painter import ground
from tctrack.types import Frame


@pytest.fixture(scope="module")
def scene() -> Frame:
    return ground(np.random.default_rng(0), 900)


def _shot(scene: Frame, scale: float, angle: float, shift: tuple[float, float]) -> tuple[Frame, np.ndarray]:
    camera = cv2.getRotationMatrix2D((450, 450), angle, scale)
    camera[:, 2] += shift
    return np.asarray(cv2.warpAffine(scene, camera, (640, 480)), np.uint8), camera


@pytest.mark.parametrize(
    ("scale", "angle", "shift"), [(1, 0, (-170.0, -215.0)), (1.02, 0, (-130, -200)), (1, 2, (-150, -210))]
)
def test_the_ground_is_carried_along(scene: Frame, scale: float, angle: float, shift: tuple[float, float]) -> None:
    first, before = _shot(scene, 1, 0, (-150, -200))
    second, after = _shot(scene, scale, angle, shift)
    place = np.array([420.0, 380.0, 1.0])
    motion = follow_camera(thumbnail(first), thumbnail(second), 640)
    assert motion is not None
    found = motion.carry(tuple(before @ place))
    assert np.hypot(*(found - after @ place)) < 1.5
    assert np.hypot(*(found - before @ place)) > 3


def test_a_large_thing_that_passes_does_not_carry_the_ground(scene: Frame) -> None:
    first, _ = _shot(scene, 1, 0, (-150, -200))
    second = first.copy()
    sign = np.random.default_rng(1).integers(0, 255, (120, 200, 3), np.uint8)
    first[100:220, 200:400] = sign
    second[112:232, 200:400] = sign
    motion = follow_camera(thumbnail(first), thumbnail(second), 640)
    assert motion is not None
    assert motion.carry((300.0, 300.0)) == pytest.approx((300, 300), abs=1)


@pytest.mark.parametrize("size", [(480, 640), (40, 50), (7, 400), (1, 1)])
def test_where_nothing_is_seen_nothing_is_said(size: tuple[int, int]) -> None:
    blank = thumbnail(np.full((*size, 3), 90, np.uint8))
    assert follow_camera(blank, blank, size[1]) is None
