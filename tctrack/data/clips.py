"""Training clips: a template, a first search crop, and the search crops that follow, as the tracker would cut them.

The search crop of a frame is centred on the box of the frame before (plus the tracker's error), so that positions in a
memory of the past mean the same in training and in tracking.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
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
class SiameseSampling:
    """The sampling of SiamRPN++ (CVPR 2019), which TCTrack takes over: one shift and one scale for a whole clip."""

    shift: float = 64.0
    """Largest shift of the search crops off their targets, in search pixels."""
    scale: float = 0.18
    """Largest relative change of the search crops' width and height."""
    template_shift: float = 4.0
    """Largest shift of the template, in its pixels."""
    template_scale: float = 0.05
    """Largest relative change of the template's width and height."""
    blur: float = 0.2
    """Probability that a search crop is blurred."""


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
    strides: tuple[int, ...] = (1,)
    """Frames of a synthetic scene between two search crops; one is drawn for each clip."""
    twin: float = 0.35
    """Probability that a copy of the target is pasted into a recorded track."""
    cover: float = 0.0
    """Probability that a patch of the ground hides the target of a recorded track for some frames."""
    hidden: float = 0.0
    """A target that shows less of itself than this share counts as absent: its box is put outside the crop."""
    siamese: SiameseSampling | None = None
    """Cut every crop about its own target instead, as the published trackers were trained; the template and the last
    crop are at most ``reach`` frames apart, the crop before the last one is its neighbour, the others are earlier."""


class Clip(NamedTuple):
    """One training sample; images are BGR uint8."""

    template: Frame
    """``(template_size, template_size, 3)``."""
    search: Frame
    """``(T, search_size, search_size, 3)``."""
    boxes: FloatArray
    """The target's x, y, w, h in each search crop, in its pixels, ``(T, 4)`` float32; outside while it is hidden."""
    extent: FloatArray
    """The target's width and height in the template, in its pixels, ``(2,)`` float32."""


class ClipSource(Protocol):
    """Something that clips can be drawn from."""

    def sample(self, rng: np.random.Generator, config: ClipConfig) -> Clip:
        """Draw a clip; the same generator state gives the same clip."""


#: A scene is drawn anew while template or first search crop show less than this share of the target.
_PLAIN = 0.5
_TRIES = 5


@dataclass(frozen=True)
class SyntheticClips:
    """Clips of drawn scenes (:mod:`tctrack.data.synthetic`)."""

    assets: Assets
    scene: SceneConfig = field(default_factory=SceneConfig)

    def sample(self, rng: np.random.Generator, config: ClipConfig) -> Clip:
        """Draw a scene and follow its target."""
        warmup, stride = int(rng.choice([0, 0, 4, 12])), int(rng.choice(config.strides))
        for _ in range(_TRIES):
            scene = make_scene(rng, self.assets, warmup + stride * (config.length - 1) + 1, self.scene)
            if min(scene.shown(0), scene.shown(warmup)) > _PLAIN:
                break
        boxes = np.array([scene.box(t) for t in range(len(scene))])

        def draw(t: int, view: _View, size: int) -> Frame:
            native = int(np.clip(np.max(view.side), size / 6, size))  # at the camera's resolution
            return scene.render(t, (native, native), view.matrix(native))

        def enlarge(image: Frame, size: int) -> Frame:
            return np.asarray(cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR), np.uint8)

        if config.siamese is not None:
            return _siamese_clip(
                rng, boxes, config, config.siamese, lambda t, view, size: enlarge(draw(t, view, size), size)
            )
        disturb = _Disturbance(rng)
        drift = rng.choice(config.drift)

        def cut(t: int, view: _View, size: int) -> Frame:
            return enlarge(disturb(draw(t, view, size)), size)

        exemplar = _View.around(boxes[0], config.template_size, config.template_size)
        template = cut(0, exemplar, config.template_size)
        extent = exemplar.place(boxes[0], config.template_size)[2:]
        images, targets = [], []
        for t in range(warmup, len(scene), stride):
            first = t == warmup
            view = _View.around(boxes[t if first else t - stride], config.search_size, config.template_size)
            view = view.disturbed(rng, 2.0 if first else drift, 0.02 if first else config.scale_jitter, config)
            images.append(cut(t, view, config.search_size))
            box = view.place(boxes[t], config.search_size)
            targets.append(_outside(box) if scene.shown(t) < config.hidden else box)
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
        if config.siamese is not None:
            start, count = (int(rng.integers(len(boxes))), 1) if self._still[index] else (0, len(boxes))
            return _siamese_clip(
                rng, boxes[start : start + count], config, config.siamese,
                lambda frame, view, size: _cut(self._pack.read(index, start + frame), view, size),
            )  # fmt: skip
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
        cover = _Cover(rng, config.length) if rng.random() < config.cover else None
        zoom = CONTEXT / config.template_size

        def cut(frame: int, view: _View, size: int) -> Frame:
            image = self._pack.read(index, frame)
            if size == config.search_size:
                if twin is not None:
                    image = twin.paste(image, boxes[frame])
                if cover is not None:
                    image = cover.paste(image, boxes[frame], len(images))
            crop = _cut(image, view, size)
            return disturb(crop[:, ::-1] if mirror else crop)

        def centred(frame: int, size: int) -> _View:
            x, y, w, h = boxes[frame]
            return _View(np.array([x + w / 2, y + h / 2]), zoom * size)

        images: list[Frame] = []
        targets = []
        exemplar = centred(origin, config.template_size)
        template = cut(origin, exemplar, config.template_size)
        extent = exemplar.place(boxes[origin], config.template_size)[2:]
        for position, frame in enumerate(frames):
            first = position == 0
            view = centred(int(frame), config.search_size).disturbed(
                rng, 2.0 if first else drift + 4.0, 0.02 if first else config.scale_jitter, config
            )
            images.append(cut(int(frame), view, config.search_size))
            box = view.place(boxes[frame], config.search_size)
            if mirror:
                box[0] = config.search_size - box[0] - box[2]
            hidden = config.hidden > 0 and cover is not None and position in cover.frames
            targets.append(_outside(box) if hidden else box)
            if twin is not None:
                twin.move(rng)
        return Clip(template, np.stack(images), np.array(targets, np.float32), extent.astype(np.float32))


class ClipDataset(Dataset[Clip]):
    """A fixed number of clips drawn from weighted sources; clip ``i`` depends on the seed and ``i`` alone.

    Args:
        sources: with their weights.
        config: how clips are cut.
        clips: how many there are.
        seed: of all clips.
        grow: numbers of the clips from which on clips are one search crop longer, up to the configured length.
        distinct: how many different clips come again and again; None for always new ones.

    Raises:
        DatasetError: no source has a weight.
    """

    def __init__(
        self,
        sources: Sequence[tuple[ClipSource, float]],
        config: ClipConfig,
        clips: int,
        seed: int = 0,
        grow: Sequence[int] = (),
        distinct: int | None = None,
    ) -> None:
        if not sources or sum(weight for _, weight in sources) <= 0:
            raise DatasetError("training needs at least one source of clips with a positive weight")
        self._sources = [source for source, _ in sources]
        weights = np.array([weight for _, weight in sources], np.float64)
        self._weights = weights / weights.sum()
        self._config, self._clips, self._seed = config, clips, seed
        self._grow, self._distinct = grow, distinct or clips

    def __len__(self) -> int:
        return self._clips

    def __getitem__(self, index: int) -> Clip:
        rng = np.random.default_rng((self._seed, index % self._distinct))
        source = self._sources[rng.choice(len(self._sources), p=self._weights)]
        length = self._config.length - sum(index < start for start in self._grow)
        return source.sample(rng, dataclasses.replace(self._config, length=length))


@dataclass(frozen=True)
class _View:
    """A window of an image that is shown as a square crop."""

    centre: FloatArray
    side: FloatArray | float
    """Width and height, or both at once."""

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

    def displaced(self, draws: FloatArray, shift: float, scale: float) -> _View:
        """Move by parts of the side, and change width and height, by up to ``shift`` and ``scale`` times the draws."""
        return _View(self.centre + draws[:2] * shift * self.side, self.side * (1 + draws[2:] * scale))

    def matrix(self, size: int) -> FloatArray:
        """Return the affine map from the image to a crop of ``size``, in continuous coordinates."""
        scale = size / self.side
        return np.column_stack((np.eye(2) * scale, size / 2 - scale * self.centre))

    def pixel_matrix(self, size: int) -> FloatArray:
        """Return the same map for OpenCV, whose pixel centres have whole coordinates."""
        matrix = self.matrix(size)
        matrix[:, 2] += 0.5 * np.diag(matrix) - 0.5
        return matrix

    def place(self, box: FloatArray, size: int) -> FloatArray:
        scale = size / self.side
        corner = (box[:2] - self.centre) * scale + size / 2
        return np.concatenate((corner, box[2:] * scale))


def _siamese_clip(
    rng: np.random.Generator,
    boxes: FloatArray,
    config: ClipConfig,
    sampling: SiameseSampling,
    cut: Callable[[int, _View, int], Frame],
) -> Clip:
    """Draw a clip of a track with the boxes ``(T, 4)``; ``cut`` makes a crop from a frame, a view and a size."""
    origin = int(rng.integers(len(boxes)))
    low, high = max(0, origin - config.reach), min(len(boxes) - 1, origin + config.reach)
    last = int(rng.integers(low, high + 1))
    earlier = np.arange(low, max(last, low + 1))  # the last frame itself, where it is the first
    frames = np.sort(rng.choice(earlier, config.length - 1, replace=len(earlier) < config.length - 1))
    frames[-1] = earlier[-1]

    def around(frame: int, size: int) -> _View:
        return _View.around(boxes[frame], size, config.template_size)

    size = config.template_size
    exemplar = around(origin, size).displaced(
        rng.uniform(-1, 1, 4), sampling.template_shift / size, sampling.template_scale
    )
    template = _tint(rng, cut(origin, exemplar, size))
    extent = exemplar.place(boxes[origin], size)[2:]
    size, draws = config.search_size, rng.uniform(-1, 1, 4)
    images, targets = [], []
    for frame in (*frames.tolist(), last):
        view = around(frame, size).displaced(draws, sampling.shift / size, sampling.scale)
        image = _tint(rng, cut(frame, view, size))
        images.append(_smear(rng, image) if rng.random() < sampling.blur else image)
        targets.append(view.place(boxes[frame], size))
    return Clip(template, np.stack(images), np.array(targets, np.float32), extent.astype(np.float32))


def _outside(box: FloatArray) -> FloatArray:
    """Move a box out of its crop, far to the upper left."""
    return np.concatenate((-4 * box[2:] - 100, box[2:]))


def _cut(image: Frame, view: _View, size: int) -> Frame:
    mean = image.mean((0, 1)).tolist()
    crop = cv2.warpAffine(
        image, view.pixel_matrix(size), (size, size), borderMode=cv2.BORDER_CONSTANT, borderValue=mean
    )
    return np.asarray(crop, np.uint8)


#: Principal components of ImageNet's colours, B, G, R by component, scaled by their deviations (AlexNet, NIPS 2012).
_COLOURS = np.array([[-0.5836, -0.6948, 0.4203], [-0.5808, -0.0045, -0.8140], [-0.5675, 0.7192, 0.4009]]) * (
    255 * np.array([0.2175, 0.0188, 0.0045])
)


def _tint(rng: np.random.Generator, image: Frame) -> Frame:
    """Shift the colours along their principal components."""
    shift = _COLOURS @ rng.normal(0, 0.1, 3)
    return np.asarray(cv2.add(image, (*shift.tolist(), 0.0)), np.uint8)


def _smear(rng: np.random.Generator, image: Frame) -> Frame:
    """Blur along a cross of random size, which stands for the motion of the camera."""
    length, share = int(rng.choice(np.arange(5, 46, 2))), rng.random()
    across, down = cv2.blur(image, (length, 1)), cv2.blur(image, (1, length))
    return np.asarray(cv2.addWeighted(across, share, down, 1 - share, 0), np.uint8)


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


class _Cover:
    """A patch of the first covered frame's surroundings that hides the target for one to three frames."""

    def __init__(self, rng: np.random.Generator, length: int) -> None:
        start = int(rng.integers(1, max(2, length - 1)))
        self.frames = range(start, min(start + int(rng.integers(1, 4)), length))
        self._reach = rng.uniform(1.1, 1.7, 2)
        self._from = rng.random(2)
        self._shade = rng.uniform(0.8, 1.2)
        self._patch: Frame | None = None

    def paste(self, image: Frame, box: FloatArray, position: int) -> Frame:
        if position not in self.frames:
            return image
        side = np.minimum(np.maximum(box[2:] * self._reach, 4), np.array(image.shape[1::-1])).astype(int)
        if self._patch is None:
            left, top = (self._from * (np.array(image.shape[1::-1]) - side)).astype(int)
            if abs(left - box[0]) < side[0] and abs(top - box[1]) < side[1]:  # rather from beside the target
                left = 0 if box[0] + box[2] / 2 > image.shape[1] / 2 else image.shape[1] - side[0]
            self._patch = np.clip(image[top : top + side[1], left : left + side[0]] * self._shade, 0, 255).astype(
                np.uint8
            )
        patch = cv2.resize(self._patch, side.tolist())
        alpha = np.zeros((side[1] + 2, side[0] + 2), np.float32)
        alpha[2:-2, 2:-2] = 1
        alpha = cv2.GaussianBlur(alpha, (0, 0), 1.0)[1:-1, 1:-1, None]
        left, top = np.round(box[:2] + (box[2:] - side) / 2).astype(int)
        pasted: Frame = image.copy()
        low, high = np.maximum((left, top), 0), np.minimum((left + side[0], top + side[1]), image.shape[1::-1])
        if (high <= low).any():
            return image
        inner = slice(low[1] - top, high[1] - top), slice(low[0] - left, high[0] - left)
        behind = pasted[low[1] : high[1], low[0] : high[0]]
        behind[:] = behind + alpha[inner] * (patch[inner].astype(np.float32) - behind)
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
