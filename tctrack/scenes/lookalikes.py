"""Scenes in which a target can be taken for its like or leaves the picture, seeded, every box exact.

They are for measuring (:mod:`tctrack.benchmark.identity`). Look-alikes differ from the target by a shade;
only their paths tell them apart.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

from tctrack.errors import ConfigError, suggest
from tctrack.scenes.synthetic import Actor, Assets, Scene, Sprite
from tctrack.types import FloatArray, Frame

#: Range of the target's size (square root of the box area), in pixels.
TARGET_SIZE = (24.0, 40.0)
#: Range of its speed over the ground, in target sizes a frame.
SPEED = (0.06, 0.12)
#: Part of the way to the target that the camera makes up in a frame.
PULL = 0.08
#: Frames of an exit scene before the camera turns away, that it takes to turn, and after it has turned back.
BEFORE, TURN, AFTER = 40, 8, 60


class LookalikeScene(NamedTuple):
    """A scene, and the indices of the actors that look like its target."""

    scene: Scene
    lookalikes: tuple[int, ...]


class Walk(NamedTuple):
    """The target's walk, straight but for a sway, around which a scene is laid out. Lengths are in pixels."""

    path: FloatArray
    """The target's centre on the ground, ``(T, 2)``."""
    extent: FloatArray
    """Its width and height."""
    size: float
    """Square root of its area."""
    step: FloatArray
    """Mean displacement a frame, ``(2,)``."""

    @property
    def along(self) -> FloatArray:
        """Unit vector of the heading."""
        heading: FloatArray = self.step / np.linalg.norm(self.step)
        return heading

    @property
    def across(self) -> FloatArray:
        """Unit vector to the side."""
        return np.array([-self.along[1], self.along[0]])

    def span(self, direction: FloatArray) -> float:
        """Return the target's length along a unit vector."""
        return float(np.abs(direction) @ self.extent)


class Cast(NamedTuple):
    """What a kind adds to the target's walk."""

    lookalikes: list[FloatArray]
    """Their paths on the ground, each ``(T, 2)``."""
    occluder: Actor | None = None
    """What occludes the target for a while."""
    jerks: FloatArray | None = None
    """Sudden displacements of the camera over the ground, ``(T, 2)``, mostly 0."""
    view: FloatArray | None = None
    """Where the camera looks, from where it would, on the ground ``(T, 2)``."""


def make_lookalike_scene(
    rng: np.random.Generator, assets: Assets, kind: str, length: int, frame_size: tuple[int, int]
) -> LookalikeScene:
    """Draw a scene of a kind; ``frame_size`` is (width, height), and the camera follows the target loosely.

    ``crossing``
        Two look-alikes cross the target's path, one after the other, and touch it.
    ``herd``
        Five to eight look-alikes walk with the target, a little more than a body apart.
    ``jerk``
        Two look-alikes walk with the target. Three times the camera jumps such that one of them comes to stand nearer
        than the target to where the target was, the middle of a tracker's window.
    ``occlusion``
        The target passes under an occluder while one or two look-alikes walk on beside it.

    Raises:
        ConfigError: there is no such kind.
    """
    if kind not in KINDS:
        raise ConfigError(f"unknown kind of scene '{kind}'{suggest(kind, KINDS)}")
    return _make_scene(rng, assets, KINDS[kind], length, frame_size)


def make_exit_scene(rng: np.random.Generator, assets: Assets, away: int, frame_size: tuple[int, int]) -> LookalikeScene:
    """Draw a scene whose target leaves the picture for about ``away`` frames, and comes back elsewhere in it.

    The camera turns to a look-alike, and back. ``frame_size`` is (width, height).
    """

    def exit_from_picture(rng: np.random.Generator, walk: Walk, _: Frame) -> Cast:
        angle = rng.uniform(0, 2 * np.pi)
        aside = (0.7 * np.hypot(*frame_size) + 2 * walk.size) * np.array([np.cos(angle), np.sin(angle)])
        times, pause = np.arange(len(walk.path)), away + TURN // 2
        leaving, back = (np.clip((times - start) / TURN, 0, 1)[:, None] for start in (BEFORE, BEFORE + pause))
        view = leaving * aside + back * (0.2 * rng.uniform(-1, 1, 2) * frame_size - aside)
        stranger = walk.path[[BEFORE + TURN + away // 2]] + aside
        return Cast([np.repeat(stranger, len(walk.path), 0)], view=view)

    return _make_scene(rng, assets, exit_from_picture, BEFORE + away + TURN + AFTER, frame_size)


def _make_scene(
    rng: np.random.Generator,
    assets: Assets,
    kind: Callable[[np.random.Generator, Walk, Frame], Cast],
    length: int,
    frame_size: tuple[int, int],
) -> LookalikeScene:
    ground = assets.grounds[int(rng.integers(len(assets.grounds)))]
    sprite = assets.sprites[int(rng.integers(len(assets.sprites)))]
    ground_scale = 1.5 * frame_size[0] / ground.shape[1]
    size = float(np.exp(rng.uniform(*np.log(TARGET_SIZE))))
    heading = rng.uniform(0, 2 * np.pi)
    step = size * rng.uniform(*SPEED) * np.array([np.cos(heading), np.sin(heading)])
    middle = np.array(ground.shape[1::-1]) * ground_scale / 2
    line = middle + (np.arange(length) - length / 2)[:, None] * step
    extent = np.array(sprite.shape[1::-1]) * size / np.sqrt(sprite.shape[0] * sprite.shape[1])
    walk = Walk(line + _sway(rng, length, 0.2 * size), extent, size, step)

    cast = kind(rng, walk, ground)
    shadow = float(rng.choice([0.0, 0.35]))
    target = _actor(sprite, walk.path, extent, shadow)
    twins = [
        _actor(_twin(rng, sprite), path + _sway(rng, length, 0.08 * size), extent * rng.uniform(0.94, 1.06), shadow)
        for path in cast.lookalikes
    ]
    place = int(rng.integers(len(twins) + 1))
    actors = [*twins[:place], target, *twins[place:]]
    lookalikes = tuple(index for index in range(len(actors)) if index != place)
    if cast.occluder is not None:
        actors.append(cast.occluder)
    camera = _camera(rng, walk, frame_size, cast)
    gain = np.repeat(rng.uniform(0.85, 1.1, (1, 1)) * rng.uniform(0.96, 1.04, (1, 3)), length, 0)
    return LookalikeScene(Scene(ground, actors, place, camera, gain, ground_scale), lookalikes)


def _crossing(rng: np.random.Generator, walk: Walk, _: Frame) -> Cast:
    length = len(walk.path)
    paths = []
    for share in (0.4, 0.7):
        meeting = length * (share + rng.uniform(-0.05, 0.05))
        angle = rng.choice([-1, 1]) * np.radians(rng.uniform(50, 130))
        direction = np.cos(angle) * walk.along + np.sin(angle) * walk.across
        passing = 0.3 * rng.uniform(-1, 1) * walk.size * walk.along
        speed = rng.uniform(2.5, 4) * walk.size / (0.4 * length)
        paths.append(walk.path + (np.arange(length) - meeting)[:, None] * speed * direction + passing)
    return Cast(paths)


def _herd(rng: np.random.Generator, walk: Walk, _: Frame) -> Cast:
    places = np.array([(x, y) for x in (-1, 0, 1) for y in (-1, 0, 1) if (x, y) != (0, 0)])
    chosen = rng.permutation(places)[: rng.integers(5, 9)]
    gaps = rng.uniform(1.2, 1.5, chosen.shape)
    return Cast([walk.path + offset for offset in chosen * gaps * walk.extent])


def _jerk(rng: np.random.Generator, walk: Walk, _: Frame) -> Cast:
    length = len(walk.path)
    angle = rng.uniform(0, np.pi)
    side = np.array([np.cos(angle), np.sin(angle)])
    offsets = [sign * rng.uniform(1.3, 1.6) * walk.span(side) * side for sign in (-1, 1)]
    jerks = np.zeros((length, 2))
    for share in (0.3, 0.55, 0.8):
        when = int(length * (share + rng.uniform(-0.05, 0.05)))
        jerks[when] = rng.uniform(0.6, 1) * offsets[int(rng.integers(2))]
    return Cast([walk.path + offset for offset in offsets], jerks=jerks)


def _occlusion(rng: np.random.Generator, walk: Walk, ground: Frame) -> Cast:
    length = len(walk.path)
    hidden = int(rng.integers(2, 9))
    start = int(length * rng.uniform(0.4, 0.6))
    begin, end = walk.path[[start, start + hidden]]
    reach = np.array([walk.span(walk.along), walk.span(walk.across) + 0.4 * walk.size])
    distance = (reach[1] + walk.span(walk.across)) / 2 + 0.3 * walk.size
    reach[0] += abs(walk.along @ (end - begin))
    angle = np.arctan2(walk.along[1], walk.along[0])
    roof = _actor(_slab(rng, ground), np.repeat((begin + end)[None] / 2, length, 0), reach, 0.35, angle)
    sides = [1, -1][: rng.integers(1, 3)]
    return Cast([walk.path + side * distance * walk.across for side in sides], roof)


#: The kinds of scenes, and what lays each out.
KINDS: dict[str, Callable[[np.random.Generator, Walk, Frame], Cast]] = {
    "crossing": _crossing,
    "herd": _herd,
    "jerk": _jerk,
    "occlusion": _occlusion,
}


def _actor(sprite: Sprite, path: FloatArray, extent: FloatArray, shadow: float, angle: float = 0.0) -> Actor:
    return Actor(sprite, path, np.repeat(extent[None], len(path), 0), np.full(len(path), angle), shadow)


def _twin(rng: np.random.Generator, sprite: Sprite) -> Sprite:
    """Return the same object in another shade."""
    shade = rng.uniform(0.9, 1.1) * rng.uniform(0.97, 1.03, 3)
    return np.dstack((np.clip(sprite[..., :3] * shade, 0, 255).astype(np.uint8), sprite[..., 3]))


def _slab(rng: np.random.Generator, ground: Frame) -> Sprite:
    """Return an opaque square of darkened ground with a light rim: a roof."""
    top, left = rng.integers(np.array(ground.shape[:2]) - 64)
    roof = (ground[top : top + 64, left : left + 64] * rng.uniform(0.5, 0.8)).astype(np.uint8)
    cv2.rectangle(roof, (0, 0), (63, 63), (150, 155, 160), 3)
    return np.dstack((roof, np.full((64, 64), 255, np.uint8)))


def _sway(rng: np.random.Generator, length: int, amplitude: float) -> FloatArray:
    """Return a smooth displacement ``(length, 2)`` of at most ``amplitude`` in x and in y."""
    turns = rng.uniform(0.5, 2, 2) * np.linspace(0, 1, length)[:, None] + rng.uniform(0, 1, 2)
    sway: FloatArray = amplitude * np.sin(2 * np.pi * turns)
    return sway


def _camera(rng: np.random.Generator, walk: Walk, frame_size: tuple[int, int], cast: Cast) -> FloatArray:
    """Return maps ground → image ``(T, 2, 3)`` of a camera that lags behind the target, sways and slowly zooms."""
    length = len(walk.path)
    focus = walk.path.copy()
    for t in range(1, length):
        focus[t] = focus[t - 1] + PULL * (walk.path[t] - focus[t - 1])
        if cast.jerks is not None:
            focus[t] += cast.jerks[t]
    if cast.view is not None:
        focus += cast.view
    zoom = np.exp(_sway(rng, length, 0.08)[:, 0])
    linear = zoom[:, None, None] * np.eye(2)
    shake = _sway(rng, length, 0.3 * walk.size) + rng.normal(0, 0.01 * walk.size, (length, 2))
    offset = np.array(frame_size) / 2 + shake - np.einsum("tij,tj->ti", linear, focus)
    return np.concatenate((linear, offset[..., None]), -1)
