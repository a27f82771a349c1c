"""Disturbances of a track: look-alikes, occluders, mirroring, and what lens, sensor and codec do to an image.

Each takes a track, of which the first frame is a clip's template, and returns one whose crops are disturbed; crops must
be cut once, frame after frame.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tctrack.training.tracks import Track, View
from tctrack.types import FloatArray, Frame

#: Principal components of ImageNet's colours, B, G, R by component, scaled by their deviations (AlexNet, NIPS 2012).
_COLOURS = np.array([[-0.5836, -0.6948, 0.4203], [-0.5808, -0.0045, -0.8140], [-0.5675, 0.7192, 0.4009]]) * (
    255 * np.array([0.2175, 0.0188, 0.0045])
)


def mirrored(track: Track) -> Track:
    """Swap left and right."""
    boxes = track.boxes.copy()
    boxes[:, 0] = -boxes[:, 0] - boxes[:, 2]

    def crop(t: int, view: View, size: int) -> Frame:
        return np.asarray(cv2.flip(track.crop(t, View(view.centre * (-1, 1), view.side), size), 1), np.uint8)

    return dataclasses.replace(track, boxes=boxes, crop=crop)


def with_twin(rng: np.random.Generator, track: Track) -> Track:
    """Paste a copy of the target that keeps near it, and behind it, into the search crops."""
    angle = rng.uniform(0, 2 * np.pi)
    offsets = rng.uniform(0.9, 2.0) * np.array([np.cos(angle), np.sin(angle)])
    offsets = offsets + np.cumsum(rng.normal(0, 0.12, (len(track), 2)), 0)
    mirror, hue, gain = rng.random() < 0.5, int(rng.choice([0, 6, 15, 40])), rng.uniform(0.8, 1.2)

    def crop(t: int, view: View, size: int) -> Frame:
        image = track.crop(t, view, size)
        corners = view.place(track.boxes[t], len(image))
        corners[2:] += corners[:2]
        left, top, right, bottom = np.clip(np.round(corners), 0, len(image)).astype(int)
        target = image[top:bottom, left:right]
        h, w = target.shape[:2]
        if t == 0 or min(h, w) < 4:
            return image
        hsv = cv2.cvtColor(target, cv2.COLOR_BGR2HSV)
        hsv[..., 0] = (hsv[..., 0].astype(int) + hue) % 180
        twin = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR).astype(np.float32) * gain
        spread = np.sqrt(w * h)
        x, y = ((left, top) + offsets[t] * np.maximum((w, h), spread)).astype(int)
        mask = np.zeros((h, w), np.float32)
        cv2.ellipse(mask, (w // 2, h // 2), (max(1, int(w * 0.46)), max(1, int(h * 0.48))), 0, 0, 360, 1.0, -1)
        mask = cv2.GaussianBlur(mask, (0, 0), max(0.6, 0.03 * spread))[..., None]
        pasted = _blend(image, twin[:, ::-1] if mirror else twin, mask, x, y)
        return _blend(pasted, target, mask, left, top)

    return dataclasses.replace(track, crop=crop)


def with_occluder(rng: np.random.Generator, track: Track) -> Track:
    """Hide the target for one to three search crops, never the first, behind a patch of its surroundings."""
    start = int(rng.integers(2, max(3, len(track) - 1)))
    stop = min(start + int(rng.integers(1, 4)), len(track))
    extent, place, shade = rng.uniform(1.1, 1.7, 2), rng.random(2), rng.uniform(0.8, 1.2)
    patches: list[Frame] = []  # the occluder, once it has been seen

    def crop(t: int, view: View, size: int) -> Frame:
        image = track.crop(t, view, size)
        if not start <= t < stop:
            return image
        box = view.place(track.boxes[t], len(image))
        width, height = side = np.clip(box[2:] * extent, 4, len(image)).astype(int)
        if not patches:  # from beside the target, where there is more room
            near, far = np.clip((box[0], box[0] + box[2]), 0, len(image)).astype(int)
            begin, end = (0, near) if near > len(image) - far else (far, len(image))
            if end - begin < 4:  # the target fills the crop
                begin, end = 0, len(image)
            left = begin + int(place[0] * max(0, end - begin - width))
            top = int(place[1] * (len(image) - height))
            patch = image[top : top + height, left : min(left + width, end)] * shade
            patches.append(np.clip(patch, 0, 255).astype(np.uint8))
        mask = np.zeros((height + 2, width + 2), np.float32)
        mask[2:-2, 2:-2] = 1
        mask = cv2.GaussianBlur(mask, (0, 0), 1.0)[1:-1, 1:-1, None]
        left, top = np.round(box[:2] + (box[2:] - side) / 2).astype(int)
        return _blend(image, cv2.resize(patches[0], side.tolist()), mask, left, top)

    visible = track.visible.copy()
    visible[start:stop] = 0
    return dataclasses.replace(track, visible=visible, crop=crop)


def tinted(rng: np.random.Generator, track: Track, blur: float) -> Track:
    """Shift the colours of every crop, and blur search crops with the probability ``blur``, as SiamRPN++ does."""

    def crop(t: int, view: View, size: int) -> Frame:
        image = track.crop(t, view, size)
        shift = _COLOURS @ rng.normal(0, 0.1, 3)
        image = np.asarray(cv2.add(image, (*shift.tolist(), 0.0)), np.uint8)
        if t == 0 or rng.random() >= blur:
            return image
        length, share = max(1, round(rng.choice(np.arange(5, 46, 2)) * len(image) / size)), rng.random()
        across, down = cv2.blur(image, (length, 1)), cv2.blur(image, (1, length))
        return np.asarray(cv2.addWeighted(across, share, down, 1 - share, 0), np.uint8)

    return dataclasses.replace(track, crop=crop)


def degraded(rng: np.random.Generator, track: Track) -> Track:
    """Change light and colours, blur, coarsen, add noise and compress, alike in all crops."""
    grey = rng.random() < 0.08
    blur = rng.uniform(0.4, 1.6) if rng.random() < 0.25 else 0.0
    motion = int(rng.integers(3, 8)) if rng.random() < 0.15 else 0
    noise = rng.uniform(1, 9) if rng.random() < 0.4 else 0.0
    quality = int(rng.integers(25, 90)) if rng.random() < 0.5 else 0
    gain = np.exp(rng.normal(0, 0.08, 3) + rng.normal(0, 0.15))
    bias = rng.normal(0, 10)
    weather = rng.random()
    if weather < 0.12:  # night
        gain *= np.exp(-rng.uniform(0.4, 1.6))
    elif weather < 0.2:  # fog
        share = rng.uniform(0.3, 0.7)
        gain, bias = gain * (1 - share), bias + share * rng.uniform(150, 230)
    coarse = rng.uniform(1.5, 4) if rng.random() < 0.25 else 0.0

    def crop(t: int, view: View, size: int) -> Frame:
        lit = gain * np.exp(rng.normal(0, 0.04))
        image = cv2.multiply(track.crop(t, view, size), (*lit.tolist(), 0.0), dtype=cv2.CV_8U)
        image = cv2.add(image, (bias,) * 4)
        if grey:
            image = np.repeat(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)[..., None], 3, -1)
        if blur:
            image = cv2.GaussianBlur(image, (0, 0), blur)
        if motion and rng.random() < 0.6:
            kernel = np.zeros((motion, motion), np.float32)
            angle, half = rng.uniform(0, np.pi), motion / 2
            reach = np.array([np.cos(angle), np.sin(angle)]) * half
            ends = [tuple(int(value) for value in half + sign * reach) for sign in (-1, 1)]
            cv2.line(kernel, ends[0], ends[1], 1.0)
            image = cv2.filter2D(image, -1, kernel / max(kernel.sum(), 1))
        if coarse:
            small = cv2.resize(image, None, fx=1 / coarse, fy=1 / coarse, interpolation=cv2.INTER_AREA)
            image = cv2.resize(small, image.shape[1::-1])
        if noise:
            grain = np.empty(image.shape, np.int16)
            cv2.setRNGSeed(int(rng.integers(2**31)))
            cv2.randn(grain, (0, 0, 0), (noise,) * 3)
            image = cv2.add(image, grain, dtype=cv2.CV_8U)
        if quality:
            _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
            image = cv2.imdecode(data, cv2.IMREAD_COLOR)
        return np.asarray(image, np.uint8)

    return dataclasses.replace(track, crop=crop)


def _blend(image: Frame, patch: NDArray[Any], mask: FloatArray, left: int, top: int) -> Frame:
    """Return a copy of an image with a patch ``(h, w, 3)`` of opacity ``mask`` ``(h, w, 1)``, clipped to the image."""
    blended: Frame = image.copy()
    rows = slice(max(top, 0), max(top + len(patch), 0))
    columns = slice(max(left, 0), max(left + patch.shape[1], 0))
    region = blended[rows, columns]
    inner = np.s_[rows.start - top :, columns.start - left :]
    patch, mask = (each[inner][: region.shape[0], : region.shape[1]] for each in (patch, mask))
    region[:] = np.clip(region + mask * (patch.astype(np.float32) - region), 0, 255)
    return blended
