"""Training clips: a template, a first search crop, and the search crops that follow, as the tracker would cut them.

The search crop of a frame is centred on the box of the frame before (plus the tracker's error), so that positions in a
memory of the past mean the same in training and in tracking.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

import cv2
import numpy as np
from torch.utils.data import Dataset

from tctrack.data.packs import CONTEXT, STILL, open_pack
from tctrack.data.synthetic import Assets, SceneConfig, make_scene
from tctrack.errors import DatasetError
from tctrack.types import FloatArray, Frame


@dataclass(frozen=True)
class ClipConfig:
    """How clips are cut and disturbed."""

    template_size: int = 128
    """Side of the template crop in pixels."""
    search_size: int = 256
    """Side of the search crops in pixels."""
    length: int = 4
    """Search crops in a clip, the first one included."""
    drift: tuple[float, ...] = (3.0, 10.0, 28.0)
    """The tracker's error of position in search pixels (standard deviation); one is drawn for each clip."""
    scale_jitter: float = 0.08
    """The tracker's error of log scale (standard deviation)."""
    gap: int = 8
    """Most frames of a recorded track between two search crops."""
    reach: int = 80
    """Most frames of a recorded track between the template and the first search crop."""
    twin: float = 0.35
    """Probability that a copy of the target is pasted into a recorded track."""


class Clip(NamedTuple):
    """One training sample; images are BGR uint8."""

    template: Frame
    """``(template_size, template_size, 3)``."""
    search: Frame
    """``(T, search_size, search_size, 3)``."""
    boxes: FloatArray
    """The target's x, y, w, h in each search crop, in its pixels, ``(T, 4)`` float32."""
    extent: FloatArray
    """The target's width and height in the template, in its pixels, ``(2,)`` float32."""


class ClipSource(Protocol):
    """Something that clips can be drawn from."""

    def sample(self, rng: np.random.Generator, config: ClipConfig) -> Clip:
        """Draw a clip; the same generator state gives the same clip."""


@dataclass(frozen=True)
class SyntheticClips:
    """Clips of drawn scenes (:mod:`tctrack.data.synthetic`)."""

    assets: Assets
    scene: SceneConfig = field(default_factory=SceneConfig)

    def sample(self, rng: np.random.Generator, config: ClipConfig) -> Clip:
        """Draw a scene and follow its target."""
        warmup = int(rng.choice([0, 0, 4, 12]))
        scene = make_scene(rng, self.assets, warmup + config.length, self.scene)
        boxes = np.array([scene.box(t) for t in range(len(scene))])
        disturb = _Disturbance(rng)
        drift = rng.choice(config.drift)

        def cut(t: int, view: _View, size: int) -> Frame:
            native = int(np.clip(view.side, size / 6, size))  # draw at the camera's resolution, then enlarge
            image = disturb(scene.render(t, (native, native), view.matrix(native)))
            return np.asarray(cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR), np.uint8)

        exemplar = _View.around(boxes[0], config.template_size, config.template_size)
        template = cut(0, exemplar, config.template_size)
        extent = exemplar.place(boxes[0], config.template_size)[2:]
        images, targets = [], []
        for t in range(warmup, len(scene)):
            first = t == warmup
            view = _View.around(boxes[t if first else t - 1], config.search_size, config.template_size)
            view = view.disturbed(rng, 2.0 if first else drift, 0.02 if first else config.scale_jitter, config)
            images.append(cut(t, view, config.search_size))
            targets.append(view.place(boxes[t], config.search_size))
        return Clip(template, np.stack(images), np.array(targets, np.float32), extent.astype(np.float32))


class CropPack:
    """Clips of the recorded tracks of a pack (:mod:`tctrack.data.packs`), whose crops exceed a search crop.

    Args:
        root: folder of the pack.
        stills: share of single images among the clips, where the pack holds both.

    Raises:
        DatasetError: there is no pack, or it is malformed.
    """

    def __init__(self, root: Path, stills: float = 0.3) -> None:
        self._pack = open_pack(root)
        self._still = np.array([name.startswith(STILL) for name in self._pack.names])
        weights = np.sqrt([len(boxes) for boxes in self._pack.boxes])
        for kind, share in ((self._still, stills), (~self._still, 1 - stills)):
            if kind.any():
                weights[kind] *= share / weights[kind].sum()
        self._weights = weights / weights.sum()

    def sample(self, rng: np.random.Generator, config: ClipConfig) -> Clip:
        """Draw a stretch of a track, and a template from near it."""
        index = int(rng.choice(len(self._weights), p=self._weights))
        boxes = self._pack.boxes[index]
        if self._still[index]:
            frames = np.full(config.length, rng.integers(len(boxes)))
            origin = int(frames[0])
        else:
            stride = int(rng.integers(1, config.gap + 1))
            stride = max(1, min(stride, (len(boxes) - 1) // max(config.length - 1, 1)))
            start = int(rng.integers(0, max(1, len(boxes) - stride * (config.length - 1))))
            frames = np.minimum(start + stride * np.arange(config.length), len(boxes) - 1)
            if rng.random() < 0.3:
                frames = frames[::-1]
            low, high = max(0, int(frames[0]) - config.reach), min(len(boxes) - 1, int(frames[0]) + config.reach)
            origin = int(rng.integers(low, high + 1))
        disturb = _Disturbance(rng)
        mirror = rng.random() < 0.5
        drift = rng.choice(config.drift)
        twin = _Twin(rng) if rng.random() < config.twin else None
        zoom = CONTEXT / config.template_size

        def cut(frame: int, view: _View, size: int) -> Frame:
            image = self._pack.read(index, frame)
            if twin is not None and size == config.search_size:
                image = twin.paste(image, boxes[frame])
            mean = image.mean((0, 1))
            crop = cv2.warpAffine(
                image, view.pixel_matrix(size), (size, size), borderMode=cv2.BORDER_CONSTANT, borderValue=mean.tolist()
            )
            return disturb(np.asarray(crop[:, ::-1] if mirror else crop, np.uint8))

        def centred(frame: int, size: int) -> _View:
            x, y, w, h = boxes[frame]
            return _View(np.array([x + w / 2, y + h / 2]), zoom * size)

        exemplar = centred(origin, config.template_size)
        template = cut(origin, exemplar, config.template_size)
        extent = exemplar.place(boxes[origin], config.template_size)[2:]
        images, targets = [], []
        for position, frame in enumerate(frames):
            first = position == 0
            view = centred(int(frame), config.search_size).disturbed(
                rng, 2.0 if first else drift + 4.0, 0.02 if first else config.scale_jitter, config
            )
            images.append(cut(int(frame), view, config.search_size))
            x, y, w, h = view.place(boxes[frame], config.search_size)
            targets.append((config.search_size - x - w if mirror else x, y, w, h))
            if twin is not None:
                twin.move(rng)
        return Clip(template, np.stack(images), np.array(targets, np.float32), extent.astype(np.float32))


class ClipDataset(Dataset[Clip]):
    """A fixed number of clips drawn from weighted sources; clip ``i`` depends on the seed and ``i`` alone."""

    def __init__(
        self, sources: Sequence[tuple[ClipSource, float]], config: ClipConfig, clips: int, seed: int = 0
    ) -> None:
        if not sources or sum(weight for _, weight in sources) <= 0:
            raise DatasetError("training needs at least one source of clips with a positive weight")
        self._sources = [source for source, _ in sources]
        weights = np.array([weight for _, weight in sources], np.float64)
        self._weights = weights / weights.sum()
        self._config, self._clips, self._seed = config, clips, seed

    def __len__(self) -> int:
        return self._clips

    def __getitem__(self, index: int) -> Clip:
        rng = np.random.default_rng((self._seed, index))
        source = self._sources[rng.choice(len(self._sources), p=self._weights)]
        return source.sample(rng, self._config)


@dataclass(frozen=True)
class _View:
    """A square window of an image."""

    centre: FloatArray
    side: float

    @classmethod
    def around(cls, box: FloatArray, size: int, template_size: int) -> _View:
        """Cut what a crop of ``size`` pixels shows: the target's context spans the template's size."""
        x, y, w, h = box
        context = np.sqrt((w + (w + h) / 2) * (h + (w + h) / 2))
        return cls(np.array([x + w / 2, y + h / 2]), float(context * size / template_size))

    def disturbed(self, rng: np.random.Generator, drift: float, scale: float, config: ClipConfig) -> _View:
        limit = config.search_size * 0.3
        offset = np.clip(rng.normal(0, drift, 2), -limit, limit) * (self.side / config.search_size)
        return _View(self.centre + offset, float(self.side * np.exp(np.clip(rng.normal(0, scale), -0.3, 0.3))))

    def matrix(self, size: int) -> FloatArray:
        """Return the affine map from the image to a crop of ``size``, in continuous coordinates."""
        scale = size / self.side
        return np.column_stack((np.eye(2) * scale, size / 2 - scale * self.centre))

    def pixel_matrix(self, size: int) -> FloatArray:
        """Return the same map for OpenCV, whose pixel centres have whole coordinates."""
        matrix = self.matrix(size)
        matrix[:, 2] += 0.5 * matrix[0, 0] - 0.5
        return matrix

    def place(self, box: FloatArray, size: int) -> FloatArray:
        scale = size / self.side
        corner = (box[:2] - self.centre) * scale + size / 2
        return np.concatenate((corner, box[2:] * scale))


class _Twin:
    """A copy of the target that keeps near it."""

    def __init__(self, rng: np.random.Generator) -> None:
        angle = rng.uniform(0, 2 * np.pi)
        self.offset = rng.uniform(0.9, 2.0) * np.array([np.cos(angle), np.sin(angle)])
        self.mirror = rng.random() < 0.5
        self.hue = int(rng.choice([0, 6, 15, 40]))
        self.gain = rng.uniform(0.8, 1.2)

    def move(self, rng: np.random.Generator) -> None:
        self.offset = self.offset + rng.normal(0, 0.12, 2)

    def paste(self, image: Frame, box: FloatArray) -> Frame:
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
        pasted: Frame = image.copy()
        behind = pasted[top : top + h, left : left + w]
        behind[:] = np.clip(behind + cover * (copy - behind), 0, 255)
        front = pasted[y : y + h, x : x + w]  # the target hides its twin
        front[:] = front + cover * (patch.astype(np.float32) - front)
        return pasted


class _Disturbance:
    """What lens, sensor and codec do to the frames of one clip."""

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
