"""What is done to the crops of a clip: pasted look-alikes and covers, and what lens, sensor and codec do."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tctrack.types import FloatArray, Frame

#: Principal components of ImageNet's colours, B, G, R by component, scaled by their deviations (AlexNet, NIPS 2012).
_COLOURS = np.array([[-0.5836, -0.6948, 0.4203], [-0.5808, -0.0045, -0.8140], [-0.5675, 0.7192, 0.4009]]) * (
    255 * np.array([0.2175, 0.0188, 0.0045])
)


def tint(rng: np.random.Generator, image: Frame) -> Frame:
    """Shift the colours of ``(H, W, 3)`` BGR along their principal components."""
    shift = _COLOURS @ rng.normal(0, 0.1, 3)
    return np.asarray(cv2.add(image, (*shift.tolist(), 0.0)), np.uint8)


def smear(rng: np.random.Generator, image: Frame) -> Frame:
    """Blur along a cross of random size, which stands for the motion of the camera."""
    length, share = int(rng.choice(np.arange(5, 46, 2))), rng.random()
    across, down = cv2.blur(image, (length, 1)), cv2.blur(image, (1, length))
    return np.asarray(cv2.addWeighted(across, share, down, 1 - share, 0), np.uint8)


def _blend(image: Frame, patch: NDArray[Any], cover: FloatArray, left: int, top: int) -> Frame:
    """Return a copy of an image with a patch ``(h, w, 3)`` at a place, as opaque as ``cover`` ``(h, w, 1)``, 0–1, says.

    What lies outside the image is left out.
    """
    blended: Frame = image.copy()
    rows = slice(max(top, 0), max(top + len(patch), 0))
    columns = slice(max(left, 0), max(left + patch.shape[1], 0))
    region = blended[rows, columns]
    inner = np.s_[rows.start - top :, columns.start - left :]
    patch, cover = (each[inner][: region.shape[0], : region.shape[1]] for each in (patch, cover))
    region[:] = np.clip(region + cover * (patch.astype(np.float32) - region), 0, 255)
    return blended


class Twin:
    """A copy of the target that keeps near it, drawn from ``rng``."""

    def __init__(self, rng: np.random.Generator) -> None:
        angle = rng.uniform(0, 2 * np.pi)
        self.offset = rng.uniform(0.9, 2.0) * np.array([np.cos(angle), np.sin(angle)])
        self.mirror = rng.random() < 0.5
        self.hue = int(rng.choice([0, 6, 15, 40]))
        self.gain = rng.uniform(0.8, 1.2)

    def move(self, rng: np.random.Generator) -> None:
        """Move on to the next frame."""
        self.offset = self.offset + rng.normal(0, 0.12, 2)

    def paste(self, image: Frame, box: FloatArray) -> Frame:
        """Return a copy of an image with the twin of the target at ``box`` (x, y, w, h), and behind it."""
        x, y, w, h = np.round(box).astype(int)
        x, y = max(x, 0), max(y, 0)
        patch = image[y : y + h, x : x + w]
        h, w = patch.shape[:2]
        if min(h, w) < 4:
            return image
        size = np.sqrt(w * h)
        left, top = (int(x + self.offset[0] * max(w, size)), int(y + self.offset[1] * max(h, size)))
        left, top = int(np.clip(left, 0, image.shape[1] - w)), int(np.clip(top, 0, image.shape[0] - h))
        hsv = cv2.cvtColor(patch, cv2.COLOR_BGR2HSV)
        hsv[..., 0] = (hsv[..., 0].astype(int) + self.hue) % 180
        copy = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR).astype(np.float32) * self.gain
        if self.mirror:
            copy = copy[:, ::-1]
        cover = np.zeros((h, w), np.float32)
        cv2.ellipse(cover, (w // 2, h // 2), (max(1, int(w * 0.46)), max(1, int(h * 0.48))), 0, 0, 360, 1.0, -1)
        cover = cv2.GaussianBlur(cover, (0, 0), max(0.6, 0.03 * size))[..., None]
        pasted = _blend(image, copy, cover, left, top)
        return _blend(pasted, patch, cover, x, y)  # the target hides its twin


class Cover:
    """A patch of the first covered frame's surroundings that hides the target for one to three frames.

    Args:
        rng: what to draw from.
        length: frames of the clip, of which the first is never covered.
    """

    def __init__(self, rng: np.random.Generator, length: int) -> None:
        start = int(rng.integers(1, max(2, length - 1)))
        self.frames = range(start, min(start + int(rng.integers(1, 4)), length))
        self._reach = rng.uniform(1.1, 1.7, 2)
        self._from = rng.random(2)
        self._shade = rng.uniform(0.8, 1.2)
        self._patch: Frame | None = None

    def paste(self, image: Frame, box: FloatArray, position: int) -> Frame:
        """Return the image at a position of the clip with the target at ``box`` (x, y, w, h) covered, if it is."""
        if position not in self.frames:
            return image
        limit = np.array(image.shape[1::-1])
        width, height = side = np.clip(box[2:] * self._reach, 4, limit).astype(int)
        if self._patch is None:
            left, top = (self._from * (limit - side)).astype(int)
            if abs(left - box[0]) < width and abs(top - box[1]) < height:  # rather from beside the target
                left = 0 if box[0] + box[2] / 2 > limit[0] / 2 else limit[0] - width
            region = image[top : top + height, left : left + width]
            self._patch = np.clip(region * self._shade, 0, 255).astype(np.uint8)
        cover = np.zeros((height + 2, width + 2), np.float32)
        cover[2:-2, 2:-2] = 1
        cover = cv2.GaussianBlur(cover, (0, 0), 1.0)[1:-1, 1:-1, None]
        left, top = np.round(box[:2] + (box[2:] - side) / 2).astype(int)
        return _blend(image, cv2.resize(self._patch, side.tolist()), cover, left, top)


class Disturbance:
    """What lens, sensor and codec do to the frames of one clip: ``(H, W, 3)`` BGR to the same."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._grey = rng.random() < 0.08
        self._blur = rng.uniform(0.4, 1.6) if rng.random() < 0.25 else 0.0
        self._motion = int(rng.integers(3, 8)) if rng.random() < 0.15 else 0
        self._noise = rng.uniform(1, 9) if rng.random() < 0.4 else 0.0
        self._quality = int(rng.integers(25, 90)) if rng.random() < 0.5 else 0
        self._gain = np.exp(rng.normal(0, 0.08, 3) + rng.normal(0, 0.15))
        self._bias = rng.normal(0, 10)

    def __call__(self, image: Frame) -> Frame:
        """Disturb the next frame."""
        rng = self._rng
        gain = self._gain * np.exp(rng.normal(0, 0.04))
        image = np.asarray(cv2.multiply(image, (*gain.tolist(), 0.0), dtype=cv2.CV_8U), np.uint8)
        image = np.asarray(cv2.add(image, (self._bias,) * 4), np.uint8)
        if self._grey:
            image = np.repeat(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)[..., None], 3, -1).astype(np.uint8)
        if self._blur:
            image = np.asarray(cv2.GaussianBlur(image, (0, 0), self._blur), np.uint8)
        if self._motion and rng.random() < 0.6:
            kernel = np.zeros((self._motion, self._motion), np.float32)
            angle, half = rng.uniform(0, np.pi), self._motion / 2
            reach = np.array([np.cos(angle), np.sin(angle)]) * half
            ends = [tuple(int(value) for value in half + sign * reach) for sign in (-1, 1)]
            cv2.line(kernel, ends[0], ends[1], 1.0)
            image = np.asarray(cv2.filter2D(image, -1, kernel / max(kernel.sum(), 1)), np.uint8)
        if self._noise:
            noise = np.empty(image.shape, np.int16)
            cv2.setRNGSeed(int(rng.integers(2**31)))
            cv2.randn(noise, (0, 0, 0), (self._noise,) * 3)
            image = np.asarray(cv2.add(image, noise, dtype=cv2.CV_8U), np.uint8)
        if self._quality:
            _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, self._quality])
            image = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
        return np.asarray(image, np.uint8)
