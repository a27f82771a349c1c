"""From videos to clips for the classifiers: sampling in time, cropping in space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from tctrack.action.decoding import Frames, count_frames, read_frames
from tctrack.action.lists import Example
from tctrack.config import Ascending, Bounds, Count, Positive, Side
from tctrack.errors import ConfigError, DatasetError


@dataclass(frozen=True)
class ClipSpec:
    """What a classifier sees of a video."""

    frames: Annotated[int, Bounds(1, 1024)] = 8
    """Frames of a clip."""
    interval: Count = 8
    """Video frames from one to the next, for dense sampling."""
    sampling: Literal["dense", "uniform"] = "dense"
    """``dense``: frames an interval apart, as on Kinetics. ``uniform``: one out of each of equal parts of the whole
    video, as on Something-Something."""
    size: Side = 224
    """Side of a training crop."""
    test_size: Side = 256
    """Side of a test crop; the shorter side is scaled to it."""
    scale: Annotated[tuple[Side, Side], Ascending()] = (256, 320)
    """Range of the shorter side in training, before the crop."""
    flip: bool = True
    """Whether to mirror half of the training clips; not where left and right matter."""
    mean: float = 0.45
    std: Positive = 0.225
    decoder: Literal["opencv", "pyav"] = "opencv"

    def __post_init__(self) -> None:
        if self.scale[0] < self.size:
            raise ConfigError(f"clip.scale={list(self.scale)} must not be below clip.size={self.size}")


def dense_indices(total: int, spec: ClipSpec, place: float) -> NDArray[np.int64]:
    """Return frame numbers ``(frames,)`` an interval apart; ``place`` in 0–1 moves the clip from start to end.

    In a video shorter than the clip's span, the last frame repeats.
    """
    span = (spec.frames - 1) * spec.interval + 1
    start = int(place * max(0, total - span) + 0.5)
    return np.minimum(start + np.arange(spec.frames) * spec.interval, total - 1)


def uniform_indices(total: int, spec: ClipSpec, places: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return one frame number out of each of ``frames`` equal parts; ``places`` in 0–1 say where in their parts."""
    edges = np.arange(spec.frames) * total / spec.frames
    return np.minimum((edges + places * total / spec.frames).astype(np.int64), total - 1)


def to_clip(frames: Frames, spec: ClipSpec) -> Tensor:
    """Return a normalised float clip ``(3, T, H, W)`` in RGB, the order of the published classifiers."""
    clip = torch.from_numpy(np.ascontiguousarray(frames[..., ::-1])).permute(3, 0, 1, 2).float()
    return (clip / 255 - spec.mean) / spec.std


def resize_short(clip: Tensor, side: int) -> Tensor:
    """Scale a clip ``(C, T, H, W)`` so that its shorter side has ``side`` pixels."""
    height, width = clip.shape[2:]
    factor = side / min(height, width)
    size = (max(side, round(height * factor)), max(side, round(width * factor)))
    scaled = F.interpolate(clip.transpose(0, 1), size, mode="bilinear", antialias=min(height, width) > side)
    return scaled.transpose(0, 1)


def square_crops(clip: Tensor, side: int, crops: int) -> list[Tensor]:
    """Scale the shorter side to ``side`` and cut ``crops`` squares along the longer one, the centre for one crop."""
    clip = resize_short(clip, side)
    slack_y, slack_x = clip.shape[2] - side, clip.shape[3] - side
    places = [0.5] if crops == 1 else [n / (crops - 1) for n in range(crops)]
    corners = [(round(slack_y * place), round(slack_x * place)) for place in places]
    return [clip[:, :, y : y + side, x : x + side] for y, x in corners]


class Sample(NamedTuple):
    """One item of :class:`ActionClips`; ``views`` is ``(views, 3, T, S, S)`` and empty where nothing could be read."""

    views: Tensor
    labels: Tensor
    skipped: int


class ActionClips(Dataset[Sample]):
    """Labelled clips of a list.

    A training item is one random view of its video; a video that cannot be read is replaced by the next and counted in
    ``skipped``. A test item has ``clips * crops`` views, or none, with ``skipped`` 1, for such a video.

    Args:
        examples: the list.
        spec: what to see of each video.
        train: whether items are random views.
        seed: of the random views; :meth:`set_epoch` renews them.
        clips: test clips of a video.
        crops: test crops of a clip.
    """

    #: How many unreadable videos in a row a training item passes over.
    PATIENCE = 16

    def __init__(
        self,
        examples: Sequence[Example],
        spec: ClipSpec,
        *,
        train: bool,
        seed: int = 0,
        clips: int = 1,
        crops: int = 1,
    ) -> None:
        self.examples, self.spec, self.train = examples, spec, train
        self.seed, self.epoch, self.clips, self.crops = seed, 0, clips, crops

    def set_epoch(self, epoch: int) -> None:
        """Choose the random views of an epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Sample:
        if not self.train:
            example = self.examples[index]
            try:
                views, skipped = video_views(example, self.spec, clips=self.clips, crops=self.crops), 0
            except DatasetError:
                views, skipped = torch.empty(0), 1
            return Sample(views, torch.tensor(example.labels), skipped)
        rng = np.random.default_rng((self.seed, self.epoch, index))
        for skipped in range(self.PATIENCE):
            example = self.examples[(index + skipped) % len(self.examples)]
            try:
                return Sample(self._training_view(example, rng)[None], torch.tensor(example.labels), skipped)
            except DatasetError as error:
                reason = error
        raise DatasetError(f"{self.PATIENCE} videos in a row cannot be read; the last: {reason}")

    def _training_view(self, example: Example, rng: np.random.Generator) -> Tensor:
        spec = self.spec
        first, total = _frame_range(example, spec)
        if spec.sampling == "dense":
            indices = dense_indices(total, spec, rng.random())
        else:
            indices = uniform_indices(total, spec, rng.random(spec.frames))
        clip = to_clip(read_frames(example.path, first + indices, spec.decoder), spec)
        clip = resize_short(clip, int(rng.integers(spec.scale[0], spec.scale[1] + 1)))
        y, x = (int(rng.integers(length - spec.size + 1)) for length in clip.shape[2:])
        clip = clip[:, :, y : y + spec.size, x : x + spec.size]
        return clip.flip(3) if spec.flip and rng.random() < 0.5 else clip


def video_views(example: Example, spec: ClipSpec, *, clips: int = 1, crops: int = 1) -> Tensor:
    """Return test views ``(clips * crops, 3, T, S, S)`` spread over a video.

    Raises:
        DatasetError: the video cannot be read, or is shorter than a clip.
    """
    first, total = _frame_range(example, spec)
    views = []
    for place in (np.arange(clips) + 0.5) / clips:
        if spec.sampling == "dense":
            indices = dense_indices(total, spec, float(place))
        else:
            indices = uniform_indices(total, spec, np.full(spec.frames, place))
        clip = to_clip(read_frames(example.path, first + indices, spec.decoder), spec)
        views += square_crops(clip, spec.test_size, crops)
    return torch.stack(views)


def _frame_range(example: Example, spec: ClipSpec) -> tuple[int, int]:
    """Return the first frame of an example and its number of frames."""
    count, rate = count_frames(example.path, spec.decoder)
    first = int(example.start * rate)
    last = count if example.stop is None else min(count, int(example.stop * rate) + 1)
    if last - first < spec.frames:
        raise DatasetError(f"'{example.path}' has {max(0, last - first)} frames; a clip needs {spec.frames}")
    return first, last - first
