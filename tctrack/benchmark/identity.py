"""How often a tracker leaves its target for a look-alike.

Generated scenes (:mod:`tctrack.scenes.lookalikes`) give the exact boxes of the target and its look-alikes, so that
jumps can be counted. Recordings give the target's box alone; there, sudden losses of the target are counted instead.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tctrack.benchmark.sequences import BenchmarkSequence
from tctrack.geometry.boxes import iou
from tctrack.scenes.lookalikes import AFTER, BEFORE, KINDS, TURN, LookalikeScene, make_exit_scene, make_lookalike_scene
from tctrack.scenes.synthetic import Assets
from tctrack.types import FloatArray, Frame

#: From this IoU on, a tracker is on its target.
ON_TARGET = 0.3
#: Below this IoU with its target, a tracker may be on a look-alike.
OFF_TARGET = 0.1
#: Consecutive frames that make a jump or a loss.
JUMP_FRAMES = 3
#: A loss is sudden where the IoU falls to 0 within this many frames.
SUDDEN_FRAMES = 10
#: Size (width, height) and length of the generated scenes.
SCENE_SIZE, SCENE_FRAMES = (480, 360), 90


class Identity(NamedTuple):
    """How well a tracker kept to its target in one sequence."""

    jumps: int
    """Jumps from the target to a look-alike; in a recording, sudden losses."""
    first_jump: int
    """Frames before the first jump; all of them when there is none."""
    kept: bool
    """Whether it is on its target in the last frame that shows it."""
    on_target: float
    """Share of the frames that show the target in which it is on it."""
    frames: int
    """Frames of the sequence."""


class Summary(NamedTuple):
    """The mean over several sequences."""

    jumps_per_100: float
    """Jumps in a hundred frames."""
    kept: float
    """Share of sequences that were kept to the end."""
    first_jump: float
    """Mean number of frames before the first jump; without a jump, all frames of the sequence count."""
    on_target: float
    """Mean share of frames on target."""


@dataclass(frozen=True, eq=False, kw_only=True)
class SceneSequence(BenchmarkSequence):
    """A generated scene as a sequence; its frames are drawn from ``seed`` wherever it runs."""

    kind: str
    seed: int
    lookalikes: FloatArray
    """Boxes of the look-alikes ``(T, N, 4)``."""

    def frames(self) -> Iterator[Frame]:
        """Draw the frames, one at a time."""
        scene = _make(self.kind, self.seed, len(self)).scene
        return (scene.render(t, SCENE_SIZE) for t in range(len(self)))


def generate_scenes(per_kind: int, seed: int = 0) -> list[SceneSequence]:
    """Generate ``per_kind`` scenes of every kind, at most 1,000; no scene is shared between seeds."""
    return [_sequence(kind, 1000 * seed + number) for kind in KINDS for number in range(per_kind)]


def generate_exits(count: int, away: int, seed: int = 0) -> list[SceneSequence]:
    """Generate ``count`` scenes, at most 1,000, whose targets leave the picture for about ``away`` frames.

    Their boxes are NaN where less than a fifth of the target is in the picture.
    """
    return [_sequence("exit", 1000 * seed + number, BEFORE + away + TURN + AFTER) for number in range(count)]


def count_jumps(found: FloatArray, target: FloatArray, lookalikes: FloatArray) -> Identity:
    """Count a tracker's jumps from its target to a look-alike.

    It is on a look-alike where its IoU with the target is below :data:`OFF_TARGET` and its centre lies in a
    look-alike's box. :data:`JUMP_FRAMES` such frames in a row are a jump. Another one counts only after the tracker was
    on its target again.

    Args:
        found: the tracker's boxes ``(T, 4)``.
        target: the true boxes ``(T, 4)``.
        lookalikes: boxes of the look-alikes ``(T, N, 4)``.
    """
    overlap = np.nan_to_num(iou(found, target))
    inside = np.abs(_centre(found)[:, None] - _centre(lookalikes)) <= lookalikes[..., 2:] / 2
    astray = (overlap < OFF_TARGET) & inside.all(-1).any(-1)
    jumps, run, held = [], 0, True
    for t in range(len(found)):
        run = run + 1 if astray[t] else 0
        held |= bool(overlap[t] >= ON_TARGET)
        if held and run == JUMP_FRAMES:
            jumps.append(t + 1 - JUMP_FRAMES)
            held = False
    return _identity(overlap, jumps, len(found))


def count_losses(found: FloatArray, target: FloatArray) -> Identity:
    """Count a tracker's sudden losses of a target whose look-alikes have no boxes.

    A loss is sudden where the IoU falls from at least :data:`ON_TARGET` to 0 within :data:`SUDDEN_FRAMES`, and stays
    there for :data:`JUMP_FRAMES`. Frames without the target do not count, so one that is not found again after an
    absence is lost as well.

    Args:
        found: the tracker's boxes ``(T, 4)``.
        target: the true boxes ``(T, 4)``, NaN where the target is absent.
    """
    shown = np.flatnonzero(np.all(np.isfinite(target), axis=-1))
    overlap = np.nan_to_num(iou(found[shown], target[shown]))
    losses: list[int] = []
    run, held = 0, -len(found)
    for t, value in enumerate(overlap):
        run = run + 1 if value == 0 else 0
        left = t + 1 - run
        if value >= ON_TARGET:
            held = t
        elif run == JUMP_FRAMES and left - held <= SUDDEN_FRAMES:
            losses.append(int(shown[left]))
    return _identity(overlap, losses, len(found))


def identify(sequence: BenchmarkSequence, found: FloatArray) -> Identity:
    """Count the jumps in a generated scene, or the sudden losses in a recording."""
    if isinstance(sequence, SceneSequence):
        return count_jumps(found, sequence.boxes, sequence.lookalikes)
    return count_losses(found, sequence.boxes)


def summarize(results: Iterable[Identity]) -> Summary:
    """Average over sequences."""
    items = list(results)
    return Summary(
        100 * sum(item.jumps for item in items) / sum(item.frames for item in items),
        float(np.mean([item.kept for item in items])),
        float(np.mean([item.first_jump for item in items])),
        float(np.mean([item.on_target for item in items])),
    )


def _identity(overlap: FloatArray, jumps: list[int], frames: int) -> Identity:
    on_target = overlap >= ON_TARGET
    return Identity(len(jumps), jumps[0] if jumps else frames, bool(on_target[-1]), float(on_target.mean()), frames)


def _centre(boxes: FloatArray) -> FloatArray:
    return boxes[..., :2] + boxes[..., 2:] / 2


def _sequence(kind: str, seed: int, length: int = SCENE_FRAMES) -> SceneSequence:
    scene, lookalikes = _make(kind, seed, length)
    boxes = np.array([[scene.box(t, index) for index in (scene.target, *lookalikes)] for t in range(len(scene))])
    target = boxes[:, 0]
    if kind == "exit":
        target[_share_inside(target, SCENE_SIZE) < 0.2] = np.nan
    return SceneSequence(f"{kind}_{seed}", target, kind=kind, seed=seed, lookalikes=boxes[:, 1:])


def _make(kind: str, seed: int, length: int) -> LookalikeScene:
    if kind == "exit":
        rng = np.random.default_rng((len(KINDS), seed))
        return make_exit_scene(rng, _assets(), length - BEFORE - TURN - AFTER, SCENE_SIZE)
    rng = np.random.default_rng((list(KINDS).index(kind), seed))
    return make_lookalike_scene(rng, _assets(), kind, length, SCENE_SIZE)


def _share_inside(boxes: FloatArray, size: tuple[int, int]) -> FloatArray:
    """Return the shares of boxes ``(T, 4)`` that lie in a picture of (width, height)."""
    sides = np.minimum(boxes[:, :2] + boxes[:, 2:], size) - np.maximum(boxes[:, :2], 0)
    share: FloatArray = sides.clip(0).prod(1) / boxes[:, 2:].prod(1)
    return share


@functools.cache
def _assets() -> Assets:
    return Assets.procedural(seed=0, grounds=3, sprites=24)
