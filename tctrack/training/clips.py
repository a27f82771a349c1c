"""Training clips: a template, a first search crop, and the search crops that follow, as the tracker would cut them.

The search crop of a frame is centred where the tracker would expect the target, plus its error, so that positions in a
memory of the past mean the same in training and in tracking: in scenes on the box of the frame before, in recordings,
whose frames may lie far apart, on the frame's own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, NamedTuple, Protocol

import cv2
import numpy as np
from torch.utils.data import Dataset

from tctrack.config import Amount, Bounds, Count, Share, Side, Whole
from tctrack.errors import DatasetError
from tctrack.geometry.boxes import context_side
from tctrack.scenes.synthetic import Assets, SceneConfig, make_scene
from tctrack.training.disturb import Cover, Disturbance, Twin, smear, tint
from tctrack.training.packs import CONTEXT, STILL, open_pack
from tctrack.types import FloatArray, Frame

#: Frames that are held in memory.
Stretch = Annotated[int, Bounds(1, 1000)]


@dataclass(frozen=True)
class SiameseSampling:
    """The sampling of SiamRPN++ (CVPR 2019), which TCTrack takes over: one shift and one scale for a whole clip."""

    shift: Amount = 64.0
    """Largest shift of the search crops off their targets, in search pixels."""
    scale: Annotated[float, Bounds(0, 0.9)] = 0.18
    """Largest relative change of the search crops' width and height."""
    template_shift: Amount = 4.0
    """Largest shift of the template, in its pixels."""
    template_scale: Annotated[float, Bounds(0, 0.9)] = 0.05
    """Largest relative change of the template's width and height."""
    blur: Share = 0.2
    """Probability that a search crop is blurred."""


@dataclass(frozen=True)
class ClipConfig:
    """How clips are cut and disturbed."""

    template_size: Side = 128
    """Side of the template crop in pixels."""
    search_size: Side = 256
    """Side of the search crops in pixels."""
    length: Stretch = 4
    """Search crops in a clip, the first one included."""
    drift: tuple[Amount, ...] = (3.0, 10.0, 28.0)
    """The tracker's error of position in search pixels (standard deviation, cut off at 0.3 of the crop); one is drawn
    for each clip. In recordings, :data:`_MOTION` is added for the target's own."""
    scale_jitter: Share = 0.08
    """The tracker's error of log scale (standard deviation)."""
    gap: Count = 8
    """Most frames of a recorded track between two search crops."""
    reach: Whole = 80
    """Most frames of a recorded track between the template and the first search crop."""
    strides: tuple[Stretch, ...] = (1,)
    """Frames of a synthetic scene between two search crops; one is drawn for each clip."""
    twin: Share = 0.35
    """Probability that a copy of the target is pasted into a recorded track."""
    cover: Share = 0.0
    """Probability that a patch of the ground hides the target of a recorded track for some frames."""
    hidden: Share = 0.0
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


#: What a recorded target moves from crop to crop, in search pixels (standard deviation).
_MOTION = 4.0
#: A scene is drawn anew while template or first search crop show less than this share of the target.
_PLAIN = 0.5
_TRIES = 5


@dataclass(frozen=True)
class SyntheticClips:
    """Clips of drawn scenes (:mod:`tctrack.scenes.synthetic`)."""

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
        disturb = Disturbance(rng)
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
    """Clips of the recorded tracks of a pack (:mod:`tctrack.training.packs`), whose crops exceed a search crop.

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
        if self._still.any() and not self._still.all():
            for kind, share in ((self._still, stills), (~self._still, 1 - stills)):
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
        disturb = Disturbance(rng)
        mirror = rng.random() < 0.5
        drift = rng.choice(config.drift)
        twin = Twin(rng) if rng.random() < config.twin else None
        cover = Cover(rng, config.length) if rng.random() < config.cover else None
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
                rng, 2.0 if first else drift + _MOTION, 0.02 if first else config.scale_jitter, config
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
        x, y, w, h = map(float, box)
        return cls(np.array([x + w / 2, y + h / 2]), context_side(w, h) * size / template_size)

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
    template = tint(rng, cut(origin, exemplar, size))
    extent = exemplar.place(boxes[origin], size)[2:]
    size, draws = config.search_size, rng.uniform(-1, 1, 4)
    images, targets = [], []
    for frame in (*frames.tolist(), last):
        view = around(frame, size).displaced(draws, sampling.shift / size, sampling.scale)
        image = tint(rng, cut(frame, view, size))
        images.append(smear(rng, image) if rng.random() < sampling.blur else image)
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
