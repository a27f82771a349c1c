"""Painted grounds and objects as seen from above, for scenes without any photo."""

from __future__ import annotations

import cv2
import numpy as np

from tctrack.types import FloatArray, Frame

_SOILS = np.array(  # BGR
    [[70, 110, 92], [84, 132, 120], [60, 92, 62], [118, 142, 158], [104, 120, 126], [86, 112, 134], [92, 140, 150]],
    np.float64,
)


def ground(rng: np.random.Generator, side: int) -> Frame:
    """Paint a square of fields, roads, trees and roofs, ``(side, side, 3)`` BGR."""
    soil = _SOILS[rng.integers(len(_SOILS))]
    canvas = soil + 26 * _noise(rng, side, 6)[..., None] + 9 * rng.normal(size=(side, side, 1))
    for _ in range(rng.integers(4, 12)):
        colour = _SOILS[rng.integers(len(_SOILS))] * rng.uniform(0.8, 1.15)
        field = np.zeros((side, side), np.uint8)
        centre, extent = rng.uniform(0, side, 2), rng.uniform(0.08, 0.3, 2) * side
        rectangle = (tuple(map(float, centre)), tuple(map(float, extent)), float(rng.uniform(0, 90)))
        cv2.fillPoly(field, [cv2.boxPoints(rectangle).astype(np.int32)], 255)
        furrows = 8 * np.sin(np.arange(side) * rng.uniform(0.2, 0.9))[:, None] * (rng.random() < 0.5)
        cover = cv2.GaussianBlur(field, (0, 0), 2)[..., None] / 255
        canvas += cover * (colour + 20 * _noise(rng, side, 5)[..., None] + furrows[..., None] - canvas)
    painted = np.clip(canvas, 0, 255).astype(np.uint8)
    for _ in range(rng.integers(1, 4)):
        _road(rng, painted)
    for _ in range(rng.integers(2, 10)):
        _roof(rng, painted)
    for _ in range(rng.integers(20, 90)):
        _tree(rng, painted)
    return np.asarray(cv2.GaussianBlur(painted, (0, 0), 0.7), np.uint8)


def sprite(rng: np.random.Generator) -> Frame:
    """Paint a car, person or boat, ``(H, W, 4)`` BGRA."""
    return (_car, _person, _boat)[rng.choice(3, p=[0.45, 0.35, 0.2])](rng)


def _noise(rng: np.random.Generator, side: int, octaves: int) -> FloatArray:
    total = np.zeros((side, side), np.float32)
    for octave in range(octaves):
        cells = 3 * 2**octave
        coarse = rng.normal(size=(cells, cells)).astype(np.float32)
        total += cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC) * 0.6**octave
    return total


def _road(rng: np.random.Generator, canvas: Frame) -> None:
    side = canvas.shape[0]
    angle = rng.uniform(0, np.pi)
    along = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-along[1], along[0]])
    t = np.linspace(-1.2, 1.2, 80)[:, None] * side
    bend = rng.uniform(-0.12, 0.12) * side * np.sin(t / side * rng.uniform(1, 4))
    line = rng.uniform(0.2, 0.8, 2) * side + t * along + bend * across
    width = int(rng.uniform(0.03, 0.07) * side)
    grey = rng.uniform(80, 130)
    points = [np.round(line).astype(np.int32)]
    cv2.polylines(canvas, points, False, (grey + 35, grey + 38, grey + 40), width + 4, cv2.LINE_AA)
    cv2.polylines(canvas, points, False, (grey, grey, grey), width, cv2.LINE_AA)
    for first, second in zip(line[::2], line[1::2], strict=False):
        ends = [tuple(map(int, np.round(point))) for point in (first, second)]
        cv2.line(canvas, ends[0], ends[1], (215, 220, 222), max(1, width // 24), cv2.LINE_AA)


def _roof(rng: np.random.Generator, canvas: Frame) -> None:
    side = canvas.shape[0]
    centre = rng.uniform(0, side, 2)
    extent = rng.uniform(0.03, 0.09, 2) * side
    angle = float(rng.uniform(0, 90))
    corners = cv2.boxPoints((tuple(map(float, centre)), tuple(map(float, extent)), angle))
    colour = np.array([[70, 80, 150], [120, 120, 125], [165, 170, 175], [60, 62, 70]])[rng.integers(4)]
    cv2.fillPoly(canvas, [np.round(corners + 0.012 * side).astype(np.int32)], (45, 50, 50), cv2.LINE_AA)
    cv2.fillPoly(canvas, [np.round(corners).astype(np.int32)], colour.tolist(), cv2.LINE_AA)
    half = np.round([corners[0], corners[1], (corners[1] + corners[2]) / 2, (corners[3] + corners[0]) / 2])
    cv2.fillPoly(canvas, [half.astype(np.int32)], (colour * 0.8).tolist(), cv2.LINE_AA)


def _tree(rng: np.random.Generator, canvas: Frame) -> None:
    side = canvas.shape[0]
    radius = rng.uniform(0.006, 0.02) * side
    centre = rng.uniform(0, side, 2)
    cv2.circle(canvas, _pixel(centre + 0.5 * radius), int(radius), (38, 48, 42), -1, cv2.LINE_AA)
    for _ in range(14):
        leaf = centre + rng.normal(0, 0.45 * radius, 2)
        shade = rng.uniform(0.7, 1.3)
        colour = (42 * shade, 96 * shade, 58 * shade)
        cv2.circle(canvas, _pixel(leaf), max(1, int(0.35 * radius)), colour, -1, cv2.LINE_AA)


def _pixel(point: FloatArray) -> tuple[int, int]:
    x, y = np.round(point).astype(int).tolist()
    return x, y


def _colour(rng: np.random.Generator) -> tuple[float, float, float]:
    hue, saturation, value = rng.integers(180), rng.choice([20, 60, 200]), rng.integers(60, 250)
    pixel = cv2.cvtColor(np.array([[[hue, saturation, value]]], np.uint8), cv2.COLOR_HSV2BGR)[0, 0]
    blue, green, red = map(float, pixel)
    return blue, green, red


def _shade(colour: tuple[float, float, float], factor: float) -> tuple[float, ...]:
    return tuple(min(255.0, value * factor) for value in colour)


def _finish(image: Frame, cover: Frame) -> Frame:
    # Draw at four times the size, then shrink: smooth edges for little code.
    stacked = np.dstack((image, cover))
    small = cv2.resize(stacked, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


def _car(rng: np.random.Generator) -> Frame:
    height, width = 384, int(384 * rng.uniform(0.42, 0.52))
    image = np.zeros((height, width, 3), np.uint8)
    cover = np.zeros((height, width), np.uint8)
    colour = _colour(rng)
    inset = width // 5
    cv2.rectangle(cover, (0, inset), (width, height - inset), 255, -1)
    cv2.rectangle(cover, (inset, 0), (width - inset, height), 255, -1)
    for x in (inset, width - inset):
        for y in (inset, height - inset):
            cv2.circle(cover, (x, y), inset, 255, -1)
    image[:] = np.round(colour)
    glass = (62, 54, 48)
    cabin = int(height * rng.uniform(0.24, 0.3))
    rear = int(height * rng.uniform(0.74, 0.86))
    cv2.rectangle(image, (width // 8, cabin), (width - width // 8, rear), glass, -1)
    cv2.rectangle(image, (width // 6, cabin + 40), (width - width // 6, rear - 34), _shade(colour, 1.12), -1)
    for x in (width // 5, width - width // 5):
        cv2.circle(image, (x, 14), 14, (225, 240, 245), -1)
        cv2.circle(image, (x, height - 12), 13, (50, 50, 200), -1)
    return _finish(image, cover)


def _person(rng: np.random.Generator) -> Frame:
    height, width = 320, 150
    image = np.zeros((height, width, 3), np.uint8)
    cover = np.zeros((height, width), np.uint8)
    shirt, trousers = _colour(rng), _colour(rng)
    skin = _shade((120.0, 150.0, 205.0), rng.uniform(0.5, 1.1))
    middle = width // 2
    stride = int(rng.uniform(6, 26))
    for canvas, shades in ((image, (trousers, shirt, skin)), (cover, (255, 255, 255))):
        for side in (-1, 1):
            cv2.line(canvas, (middle + side * 14, 180), (middle + side * stride, 300), shades[0], 34)
            cv2.line(canvas, (middle + side * 30, 90), (middle + side * 46, 170), shades[1], 22)
        cv2.ellipse(canvas, (middle, 128), (42, 72), 0, 0, 360, shades[1], -1)
        cv2.circle(canvas, (middle, 34), 28, shades[2], -1)
    cv2.ellipse(image, (middle, 22), (28, 18), 0, 180, 360, (40, 44, 50), -1)
    return _finish(image, cover)


def _boat(rng: np.random.Generator) -> Frame:
    height, width = 400, int(400 * rng.uniform(0.34, 0.46))
    image = np.zeros((height, width, 3), np.uint8)
    cover = np.zeros((height, width), np.uint8)
    hull = np.array([[0.5, 0], [0.85, 0.25], [1, 0.6], [0.9, 1], [0.1, 1], [0, 0.6], [0.15, 0.25]]) * (width, height)
    inner = (hull - (width / 2, height / 2)) * 0.8 + (width / 2, height * 0.53)
    cv2.fillPoly(cover, [np.round(hull).astype(np.int32)], 255)
    image[:] = np.round(_colour(rng))
    cv2.fillPoly(image, [np.round(inner).astype(np.int32)], _shade((150.0, 185.0, 205.0), rng.uniform(0.7, 1.15)))
    top = int(height * rng.uniform(0.35, 0.5))
    cv2.rectangle(image, (width // 4, top), (width - width // 4, top + height // 4), _colour(rng), -1)
    return _finish(image, cover)
