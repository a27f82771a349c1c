"""Training clips: a template, a first search crop, and the search crops that follow, as the tracker would cut them.

Sources give tracks, drawn or recorded; a sampler picks frames of a track, disturbs them, and places the crops.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, NamedTuple, Protocol

import cv2
import numpy as np
from torch.utils.data import Dataset

from tctrack.config import Amount, Bounds, Count, Share, Side, Whole
from tctrack.errors import DatasetError
from tctrack.scenes.synthetic import Assets, SceneConfig, make_scene
from tctrack.training import disturb
from tctrack.training.packs import STILL, open_pack
from tctrack.training.tracks import Track, View
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
    search_size: Side = 224
    """Side of the search crops in pixels."""
    length: Stretch = 4
    """Search crops in a clip, the first one included."""
    drift: tuple[Amount, ...] = (3.0, 10.0, 28.0)
    """The tracker's error of position in search pixels (standard deviation, cut off at 0.3 of the crop); one is drawn
    for each clip. In recordings, :data:`_MOTION` is added for the target's own."""
    scale_jitter: Share = 0.08
    """The tracker's error of log scale (standard deviation)."""
    stretch: Share = 0.0
    """Change of the search crops' log aspect ratio (standard deviation), so that boxes are measured, not remembered."""
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


class TrackSource(Protocol):
    """Something that tracks can be drawn from."""

    def track(self, rng: np.random.Generator, config: ClipConfig) -> Track:
        """Draw a track; the same generator state gives the same one."""


#: What a recorded target moves from crop to crop, in search pixels (standard deviation).
_MOTION = 4.0
#: A scene is drawn anew while template or first search crop show less than this share of the target.
_PLAIN = 0.5
_TRIES = 5


@dataclass(frozen=True)
class SceneTracks:
    """Targets of drawn scenes (:mod:`tctrack.scenes.synthetic`), in as many frames as a clip has crops."""

    assets: Assets
    scene: SceneConfig = field(default_factory=SceneConfig)

    def track(self, rng: np.random.Generator, config: ClipConfig) -> Track:
        """Draw a scene whose target is visible in the first two frames."""
        warmup, stride = int(rng.choice([0, 0, 4, 12])), int(rng.choice(config.strides))
        frames = [0, *range(warmup, warmup + stride * config.length, stride)]
        for _ in range(_TRIES):
            scene = make_scene(rng, self.assets, frames[-1] + 1, self.scene)
            visible = np.array([scene.visible(t) for t in frames])
            if visible[:2].min() > _PLAIN:
                break

        def crop(t: int, view: View, size: int) -> Frame:
            native = int(np.clip(np.max(view.side), size / 6, size))
            return scene.render(frames[t], (native, native), view.matrix(native))

        return Track(np.array([scene.box(t) for t in frames]), visible, crop)


class PackTracks:
    """The recorded tracks of a pack (:mod:`tctrack.training.packs`), whose crops exceed a search crop.

    Args:
        root: folder of the pack.
        stills: share of single images among the tracks, where the pack holds both.

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

    def track(self, rng: np.random.Generator, config: ClipConfig) -> Track:
        """Draw a track, or one image of a set of stills."""
        index = int(rng.choice(len(self._weights), p=self._weights))
        boxes = self._pack.boxes[index]

        def crop(t: int, view: View, size: int) -> Frame:
            image = self._pack.read(index, t)
            matrix = view.matrix(size)
            matrix[:, 2] += 0.5 * np.diag(matrix) - 0.5  # OpenCV puts the centres of pixels at whole numbers
            mean = image.mean((0, 1)).tolist()
            cut = cv2.warpAffine(image, matrix, (size, size), borderMode=cv2.BORDER_CONSTANT, borderValue=mean)
            return np.asarray(cut, np.uint8)

        track = Track(boxes, np.ones(len(boxes)), crop, recorded=True)
        return track.pick([int(rng.integers(len(boxes)))]) if self._still[index] else track


def sample_clip(source: TrackSource, rng: np.random.Generator, config: ClipConfig) -> Clip:
    """Draw a clip of a source; the same generator state gives the same clip."""
    track = source.track(rng, config)
    if config.siamese is not None:
        return _sample_siamese(track, rng, config, config.siamese)
    return _sample_stream(track, rng, config)


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
        sources: Sequence[tuple[TrackSource, float]],
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
        return sample_clip(source, rng, dataclasses.replace(self._config, length=length))


def _sample_stream(track: Track, rng: np.random.Generator, config: ClipConfig) -> Clip:
    """Cut each search crop where a tracker would look: near the box of the frame before.

    So positions in a memory of the past mean the same in training and in tracking. In a recorded track, whose frames
    may lie far apart, the crop is near the frame's own box.
    """
    drift = rng.choice(config.drift)
    if track.recorded:
        drift += _MOTION
        track = _stretch(track, rng, config)
        if rng.random() < 0.5:
            track = disturb.mirrored(track)
        if rng.random() < config.twin:
            track = disturb.with_twin(rng, track)
        if rng.random() < config.cover:
            track = disturb.with_occluder(rng, track)
    limit = 0.3 * config.search_size
    views = [View.around(track.boxes[0], config.template_size, config.template_size)]
    for t in range(1, len(track)):
        shift, scale, stretch = (2.0, 0.02, 0.0) if t == 1 else (drift, config.scale_jitter, config.stretch)
        offset = np.clip(rng.normal(0, shift, 2), -limit, limit) / config.search_size
        expected = track.boxes[t if track.recorded else max(1, t - 1)]
        view = View.around(expected, config.search_size, config.template_size)
        zoom = np.clip(rng.normal(0, scale), -0.3, 0.3)
        wider = rng.normal(0, stretch) / 2 if stretch else 0.0
        views.append(view.moved(offset, np.exp((zoom + wider, zoom - wider))))
    return _cut(disturb.degraded(rng, track), views, config)


def _stretch(track: Track, rng: np.random.Generator, config: ClipConfig) -> Track:
    """Pick evenly spaced frames of a recorded track, and a template from near the first."""
    last = len(track) - 1
    stride = int(rng.integers(1, config.gap + 1))
    stride = max(1, min(stride, last // max(config.length - 1, 1)))
    start = int(rng.integers(0, max(1, len(track) - stride * (config.length - 1))))
    frames = np.minimum(start + stride * np.arange(config.length), last).tolist()
    if rng.random() < 0.3:
        frames.reverse()
    template = int(rng.integers(max(0, frames[0] - config.reach), min(last, frames[0] + config.reach) + 1))
    return track.pick([template, *frames])


def _sample_siamese(track: Track, rng: np.random.Generator, config: ClipConfig, sampling: SiameseSampling) -> Clip:
    """Cut every search crop about its own target, all with one shift and scale."""
    template = int(rng.integers(len(track)))
    low, high = max(0, template - config.reach), min(len(track) - 1, template + config.reach)
    last = int(rng.integers(low, high + 1))
    earlier = np.arange(low, max(last, low + 1))  # the last frame itself, where it is the first
    frames = np.sort(rng.choice(earlier, config.length - 1, replace=len(earlier) < config.length - 1))
    frames[-1] = earlier[-1]
    track = track.pick([template, *frames.tolist(), last])

    def around(t: int, size: int, shift: float, scale: float, draws: FloatArray) -> View:
        view = View.around(track.boxes[t], size, config.template_size)
        return view.moved(draws[:2] * shift / size, 1 + draws[2:] * scale)

    draws = rng.uniform(-1, 1, (2, 4))
    views = [around(0, config.template_size, sampling.template_shift, sampling.template_scale, draws[0])]
    for t in range(1, len(track)):
        views.append(around(t, config.search_size, sampling.shift, sampling.scale, draws[1]))
    return _cut(disturb.tinted(rng, track, sampling.blur), views, config)


def _cut(track: Track, views: Sequence[View], config: ClipConfig) -> Clip:
    """Cut the template, then the search crops; a box that is too occluded goes outside, far to the upper left."""
    images, boxes = [], []
    for t, view in enumerate(views):
        size = config.search_size if t else config.template_size
        images.append(cv2.resize(track.crop(t, view, size), (size, size), interpolation=cv2.INTER_LINEAR))
        boxes.append(view.place(track.boxes[t], size))
        if t and track.visible[t] < config.hidden:
            boxes[t][:2] = -4 * boxes[t][2:] - 100
    template, *search = (np.asarray(image, np.uint8) for image in images)
    return Clip(template, np.stack(search), np.array(boxes[1:], np.float32), boxes[0][2:].astype(np.float32))
