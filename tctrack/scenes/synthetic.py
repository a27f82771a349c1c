"""Synthetic aerial video: a moving camera over textured ground, a target, look-alikes, occluders; exact boxes; seeded.

A :class:`Scene` is a plane seen through a moving camera. It renders any frame through any further view, so the demo
draws whole frames and training draws search crops, both from one description.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tctrack.config import Amount, Ascending, Bounds, Positive, Share
from tctrack.errors import DatasetError
from tctrack.files import IMAGE_SUFFIXES, find_file, is_utf8
from tctrack.types import Box, FloatArray, Frame

#: ``(H, W, 4)`` uint8 cut-out in BGRA.
Sprite = NDArray[np.uint8]
Few = Annotated[int, Bounds(0, 1000)]


@dataclass(frozen=True)
class SceneConfig:
    """How scenes are drawn. Sizes are in target sizes (square root of the box area) unless said otherwise."""

    target_size: Annotated[tuple[Positive, Positive], Ascending()] = (14, 90)
    """Range of the target's size in image pixels, drawn log-uniformly."""
    speed: Amount = 0.15
    """Typical speed over the ground per frame."""
    shake: Amount = 0.05
    """Typical random camera motion per frame."""
    zoom: Share = 0.01
    """Typical change of log scale per frame."""
    roll: Amount = 0.02
    """Largest typical rotation of the camera per frame, in radians."""
    distractors: Annotated[tuple[Few, Few], Ascending()] = (0, 5)
    """Fewest and most other objects."""
    lookalike: Share = 0.6
    """Probability that a distractor looks like the target."""
    passing: Amount = 0.4
    """How near a crossing distractor passes, as a share of the 1 to 2.6 sizes that others keep off."""
    deform: Share = 0.12
    """Largest typical change of the target's width and of its height."""
    flex: Share = 0.0
    """Probability that parts of the target are drawn in and reach out, as limbs are."""
    occluder: Share = 0.2
    """Probability that something covers the target for a while."""
    occluder_size: Annotated[tuple[Positive, Positive], Ascending()] = (0.4, 1.2)
    """Range of the size of what covers it."""
    camouflage: Share = 0.1
    """Probability that the target is textured like the ground."""
    light: Share = 0.02
    """Typical change of log brightness per frame."""


@dataclass(frozen=True)
class Assets:
    """What scenes are made of: ground images ``(H, W, 3)`` BGR and cut-outs ``(H, W, 4)`` BGRA."""

    grounds: Sequence[Frame]
    sprites: Sequence[Sprite]

    @classmethod
    def procedural(cls, seed: int = 0, grounds: int = 4, sprites: int = 24) -> Assets:
        """Paint grounds and vehicles, people and boats from nothing but a seed."""
        from tctrack.scenes import painter

        rng = np.random.default_rng(seed)
        return cls([painter.ground(rng, 1400) for _ in range(grounds)], [painter.sprite(rng) for _ in range(sprites)])

    @classmethod
    def from_folders(
        cls, photos: Sequence[Path], cutouts: Sequence[Path] = (), polygons: Sequence[Path] = (), seed: int = 0
    ) -> Assets:
        """Read folders of photos, of cut-outs with an alpha channel, and of photos with YOLO polygons.

        A polygon folder holds ``images/`` and ``polygons/``: one ``.txt`` an image, lines of a class and x y pairs in
        0–1. Its images serve as grounds too. Unreadable files are skipped, and cut-outs that are not 8-bit BGRA or are
        fully transparent.

        Raises:
            DatasetError: a folder holds no image, or a line of polygons is malformed.
        """
        grounds = [image for folder in photos for image in _read_images(folder, cv2.IMREAD_COLOR)]
        sprites = [
            image for folder in cutouts for image in _read_images(folder, cv2.IMREAD_UNCHANGED) if _is_cutout(image)
        ]
        for folder in polygons:
            grounds += _read_images(folder / "images", cv2.IMREAD_COLOR)
            sprites += _read_polygons(folder)
        painted = cls.procedural(seed, grounds=max(4, len(grounds) // 20), sprites=max(24, len(sprites) // 5))
        return cls([*grounds, *painted.grounds], [*sprites, *painted.sprites])


@dataclass
class Actor:
    """A cut-out moving over the ground; arrays have one row a frame."""

    sprite: Sprite
    centre: FloatArray
    """Ground coordinates of its centre, ``(T, 2)``."""
    size: FloatArray
    """Width and height on the ground, ``(T, 2)``."""
    angle: FloatArray
    """Rotation in radians, ``(T,)``."""
    shadow: float = 0.0
    """Darkness of the shadow it casts, 0–1."""
    limbs: FloatArray | None = None
    """Shares, 0–1, to which K rows from top to bottom, then K columns from left to right, are drawn in towards its
    middle, ``(T, 2, K)``; those between are interpolated."""
    _poses: dict[int, tuple[Sprite, FloatArray]] = field(init=False, repr=False, compare=False, default_factory=dict)

    def pose(self, t: int) -> tuple[Sprite, FloatArray]:
        """Return what is drawn at frame ``t``, and the convex hull of its opaque pixels, ``(N, 2)`` in its pixels."""
        key = 0 if self.limbs is None else t
        if key not in self._poses:
            sprite = self.sprite if self.limbs is None else _draw_in(self.sprite, *self.limbs[t])
            opaque = np.argwhere(sprite[..., 3] > 127)[:, ::-1].astype(np.float32)
            # A pixel is a square: take the corners of the hull's pixels.
            hull = cv2.convexHull(opaque)[:, 0]
            corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], np.float64)
            self._poses[key] = sprite, (hull[:, None] + corners).reshape(-1, 2)
        return self._poses[key]

    def placement(self, t: int) -> FloatArray:
        """Return the affine map ``(2, 3)`` from sprite to ground coordinates at frame ``t``."""
        height, width = self.sprite.shape[:2]
        cos, sin = np.cos(self.angle[t]), np.sin(self.angle[t])
        linear = np.array([[cos, -sin], [sin, cos]]) @ np.diag(self.size[t] / (width, height))
        offset = self.centre[t] - linear @ (width / 2, height / 2)
        return np.column_stack((linear, offset))


#: Rows, and columns, at which a target that flexes is drawn in.
_JOINTS = 4
#: Longest side of the cut-out of a target that flexes, in pixels.
_FLEXIBLE = 224
#: Side of the raster on which a target's visible share is counted.
_RASTER = 32


@dataclass
class Scene:
    """A rendered world of ``len(camera)`` frames; ``actors`` are drawn in order, ``target`` indexes the tracked one."""

    ground: Frame
    actors: list[Actor]
    target: int
    camera: FloatArray
    """Affine maps ground → image, ``(T, 2, 3)``."""
    gain: FloatArray
    """Brightness of each channel, ``(T, 3)``."""
    ground_scale: float = 1.0
    """Ground units per ground pixel."""

    def __len__(self) -> int:
        return len(self.camera)

    def box(self, t: int, index: int | None = None) -> Box:
        """Return the exact bounding box in image pixels of an actor (the target unless said) at frame ``t``.

        It bounds the whole object, occluded or not, in the image or not.
        """
        actor = self.actors[self.target if index is None else index]
        corners = _apply(compose(self.camera[t], actor.placement(t)), actor.pose(t)[1])
        low, high = corners.min(0), corners.max(0)
        return Box(*map(float, (*low, *(high - low))))

    def visible(self, t: int) -> float:
        """Return the share of the target that no later actor occludes at frame ``t``; outlines are taken as convex."""
        outlines = [_apply(actor.placement(t), actor.pose(t)[1]) for actor in self.actors[self.target :]]
        low, high = outlines[0].min(0), outlines[0].max(0)
        hulls = []
        for points in outlines:
            places = (points - low) / (high - low) * _RASTER - 0.5
            hulls.append(cv2.convexHull(np.clip(places, -9999, 9999).round().astype(np.int32)))
        raster = cv2.fillConvexPoly(np.zeros((_RASTER, _RASTER), np.uint8), hulls[0], 1)
        whole = np.count_nonzero(raster)
        for hull in hulls[1:]:
            cv2.fillConvexPoly(raster, hull, 0)
        return np.count_nonzero(raster) / whole

    def render(self, t: int, size: tuple[int, int], view: FloatArray | None = None) -> Frame:
        """Draw frame ``t`` as ``(height, width, 3)`` BGR; ``size`` is (width, height), ``view`` maps image → output."""
        camera = self.camera[t] if view is None else compose(view, self.camera[t])
        scale = np.array([[self.ground_scale, 0, 0], [0, self.ground_scale, 0]])
        canvas = _warp(self.ground, compose(camera, scale), size, cv2.BORDER_REFLECT)
        for actor in self.actors:
            _draw(canvas, *actor.pose(t), compose(camera, actor.placement(t)), actor.shadow)
        lit = cv2.multiply(canvas, (*self.gain[t].tolist(), 0.0), scale=1.0, dtype=cv2.CV_8U)
        return np.asarray(lit, np.uint8)


def make_scene(
    rng: np.random.Generator,
    assets: Assets,
    length: int,
    config: SceneConfig | None = None,
    frame_size: tuple[int, int] | None = None,
) -> Scene:
    """Draw a random scene of ``length`` frames.

    With a ``frame_size`` (width, height) the camera follows the target loosely and keeps it in the frame; without one
    it drifts on its own, for crops that are centred anyway.
    """
    config = config or SceneConfig()
    size = float(np.exp(rng.uniform(*np.log(config.target_size))))
    ground = _choose(rng, assets.grounds)
    sprite = _pick_sprite(rng, assets, ground, config)
    base = _fit(sprite, size)
    middle = np.array([ground.shape[1], ground.shape[0]]) / 2
    if frame_size is None:
        ground_scale = float(np.exp(rng.uniform(np.log(0.4), np.log(1.6))))
        start = middle * ground_scale * rng.uniform(0.5, 1.5, 2)
    else:  # the ground is wider than the frame
        ground_scale = 1.5 * frame_size[0] / ground.shape[1]
        start = middle * ground_scale * rng.uniform(0.85, 1.15, 2)

    path = start + _walk(rng, length, size * config.speed * rng.gamma(1.5, 0.7))
    wobble = np.clip(1 + config.deform * rng.uniform(0, 1) * _smooth(rng, length, 2), 0.4, 2.5)
    turn = rng.uniform(-np.pi, np.pi) * (rng.random() < 0.4) + np.cumsum(_smooth(rng, length, 1)[:, 0]) * rng.choice(
        [0, 0.01, 0.04]
    )
    shadow = float(rng.choice([0.0, 0.35]))
    limbs = None
    if config.flex and rng.random() < config.flex:
        limbs = np.exp(-0.4 * np.abs(_smooth(rng, length, 2 * _JOINTS))).reshape(length, 2, _JOINTS)
        shrink = min(1.0, _FLEXIBLE / max(sprite.shape))
        side = [max(1, round(length * shrink)) for length in sprite.shape[1::-1]]
        sprite = np.asarray(cv2.resize(sprite, side, interpolation=cv2.INTER_AREA), np.uint8)
    target = Actor(sprite, path, base * wobble, turn, shadow, limbs)

    behind: list[Actor] = []
    before: list[Actor] = []
    for _ in range(rng.integers(config.distractors[0], config.distractors[1] + 1)):
        other = _distractor(rng, assets, target, size, config)
        (behind if rng.random() < 0.6 else before).append(other)
    if rng.random() < config.occluder:
        before.append(_occluder(rng, assets, target, size * rng.uniform(*config.occluder_size)))

    camera = _camera(rng, path, size, config, frame_size)
    gain = np.exp(
        rng.normal(0, 0.15)
        + rng.normal(0, 0.05, (1, 3))
        + config.light * np.cumsum(_smooth(rng, length, 1), 0) * rng.random()
    )
    return Scene(ground, [*behind, target, *before], len(behind), camera, gain, ground_scale)


def compose(second: FloatArray, first: FloatArray) -> FloatArray:
    """Return the affine map ``(2, 3)`` that applies ``first``, then ``second``."""
    return np.column_stack((second[:, :2] @ first[:, :2], second[:, :2] @ first[:, 2] + second[:, 2]))


def _apply(matrix: FloatArray, points: FloatArray) -> FloatArray:
    moved: FloatArray = points @ matrix[:, :2].T + matrix[:, 2]
    return moved


def _warp(image: Frame, matrix: FloatArray, size: tuple[int, int], border: int) -> Frame:
    # Matrices act on continuous coordinates, where a pixel's centre is at a half; OpenCV's are at whole numbers.
    shifted = matrix.copy()
    shifted[:, 2] += matrix[:, :2] @ (0.5, 0.5) - 0.5
    return np.asarray(cv2.warpAffine(image, shifted, size, flags=cv2.INTER_LINEAR, borderMode=border), np.uint8)


def _draw_in(sprite: Sprite, across: FloatArray, along: FloatArray) -> Sprite:
    """Shrink the rows of a cut-out towards its middle by shares ``(K,)`` from top to bottom, then its columns."""
    height, width = sprite.shape[:2]
    y, x = (np.arange(side, dtype=np.float32) - (side - 1) / 2 for side in (height, width))
    rows, columns = (
        np.interp(np.linspace(0, len(shares) - 1, side), np.arange(len(shares)), shares).astype(np.float32)
        for shares, side in ((across, height), (along, width))
    )
    from_y = y[:, None] / columns + (height - 1) / 2
    shares = rows[np.clip(np.rint(from_y), 0, height - 1).astype(int)]
    drawn = np.asarray(cv2.remap(sprite, x / shares + (width - 1) / 2, from_y, cv2.INTER_LINEAR), np.uint8)
    return drawn if (drawn[..., 3] > 127).any() else sprite  # what is two pixels wide can vanish


def _draw(canvas: Frame, sprite: Sprite, outline: FloatArray, matrix: FloatArray, shadow: float) -> None:
    corners = _apply(matrix, outline)
    low = np.floor(corners.min(0)).astype(int) - 1
    high = np.ceil(corners.max(0)).astype(int) + 1
    if shadow:
        offset = np.round((high - low) * 0.12).astype(int) + 1
        _blend(canvas, sprite, matrix, low, high, offset, shadow)
    _blend(canvas, sprite, matrix, low, high, np.zeros(2, int), None)


def _blend(
    canvas: Frame,
    sprite: Sprite,
    matrix: FloatArray,
    low: NDArray[np.int_],
    high: NDArray[np.int_],
    offset: NDArray[np.int_],
    shadow: float | None,
) -> None:
    limit = np.array(canvas.shape[1::-1])
    left, top = np.clip(low + offset, 0, limit)
    right, bottom = np.clip(high + offset, 0, limit)
    if right <= left or bottom <= top:
        return
    local = matrix.copy()
    local[:, 2] += offset - (left, top)
    # Shrink large cut-outs first, so that the warp does not skip pixels.
    shrink = 1 / max(float(np.linalg.norm(matrix[:, 0])), float(np.linalg.norm(matrix[:, 1])), 1e-6)
    if shrink > 2:
        side = [max(1, round(length / shrink)) for length in sprite.shape[1::-1]]
        factor = np.diag(np.array(sprite.shape[1::-1]) / side)
        sprite = np.asarray(cv2.resize(sprite, side, interpolation=cv2.INTER_AREA), np.uint8)
        local = np.column_stack((local[:, :2] @ factor, local[:, 2]))
    drawn = _warp(sprite, local, (int(right - left), int(bottom - top)), cv2.BORDER_CONSTANT)
    region = canvas[top:bottom, left:right]
    cover = drawn[..., 3:].astype(np.float32) / 255
    if shadow is None:
        region[:] = (region + cover * (drawn[..., :3].astype(np.float32) - region) + 0.5).astype(np.uint8)
    else:
        region[:] = (region * (1 - shadow * cover)).astype(np.uint8)


def _fit(sprite: Sprite, size: float) -> FloatArray:
    height, width = sprite.shape[:2]
    scaled: FloatArray = np.array([width, height]) * (size / np.sqrt(width * height))
    return scaled


def _smooth(rng: np.random.Generator, length: int, columns: int) -> FloatArray:
    """Return smooth unit noise ``(length, columns)``."""
    noise = np.empty((length, columns))
    noise[0] = rng.normal(size=columns)
    for t in range(1, length):
        noise[t] = 0.85 * noise[t - 1] + 0.527 * rng.normal(size=columns)
    return noise


def _walk(rng: np.random.Generator, length: int, speed: float) -> FloatArray:
    heading = rng.uniform(0, 2 * np.pi) + 0.15 * np.cumsum(_smooth(rng, length, 1)[:, 0])
    pace = speed * np.clip(1 + 0.4 * _smooth(rng, length, 1)[:, 0], 0, None)
    steps = pace[:, None] * np.column_stack((np.cos(heading), np.sin(heading)))
    path: FloatArray = np.cumsum(steps, 0) - steps[0]
    return path


def _choose(rng: np.random.Generator, images: Sequence[Frame]) -> Frame:
    return images[int(rng.integers(len(images)))]


def _pick_sprite(rng: np.random.Generator, assets: Assets, ground: Frame, config: SceneConfig) -> Sprite:
    if rng.random() < config.camouflage:
        return _patch(rng, ground)
    if rng.random() < 0.2:
        return _patch(rng, _choose(rng, assets.grounds))
    sprite = _choose(rng, assets.sprites)
    return _recolour(rng, sprite, 12) if rng.random() < 0.5 else sprite


def _patch(rng: np.random.Generator, image: Frame) -> Sprite:
    """Cut a random blob out of an image."""
    height, width = image.shape[:2]
    tall = int(min(rng.uniform(24, 120), height - 1))
    wide = int(min(max(12, tall * np.exp(rng.uniform(-0.9, 0.9))), width - 1))
    top, left = rng.integers(height - tall), rng.integers(width - wide)
    cover = np.zeros((tall, wide), np.uint8)
    angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(5, 12)))
    radii = rng.uniform(0.7, 1.0, len(angles))
    half = np.array([wide, tall]) / 2
    points = half + half * np.column_stack((np.cos(angles) * radii, np.sin(angles) * radii))
    if rng.random() < 0.5:
        cv2.ellipse(cover, (wide // 2, tall // 2), (wide // 2 - 1, tall // 2 - 1), 0, 0, 360, 255, -1)
    cv2.fillPoly(cover, [np.round(points).astype(np.int32)], 255)
    if cover.max() == 0 or (cover > 0).mean() < 0.2:
        cover[:] = 255
    return np.dstack((_contrast(rng, image[top : top + tall, left : left + wide]), cover))


def _contrast(rng: np.random.Generator, image: Frame) -> Frame:
    shift = rng.normal(0, 25, 3)
    return np.clip(image * rng.uniform(0.7, 1.4) + shift, 0, 255).astype(np.uint8)


def _recolour(rng: np.random.Generator, sprite: Sprite, amount: float) -> Sprite:
    hsv = cv2.cvtColor(np.ascontiguousarray(sprite[..., :3]), cv2.COLOR_BGR2HSV).astype(np.int16)
    hsv[..., 0] = (hsv[..., 0] + round(rng.normal(0, amount))) % 180
    hsv[..., 1:] = np.clip(hsv[..., 1:] * rng.uniform(0.75, 1.25, 2), 0, 255)
    return np.dstack((cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2BGR), sprite[..., 3]))


def _lookalike(rng: np.random.Generator, sprite: Sprite) -> Sprite:
    twin = sprite
    if rng.random() < 0.4:
        twin = np.ascontiguousarray(twin[:, ::-1])
    if rng.random() < 0.7:
        twin = _recolour(rng, twin, rng.choice([2, 10, 25]))
    if rng.random() < 0.3:  # the upper or the lower half wears another colour
        half = twin.shape[0] // 2
        twin = twin.copy()
        rows = slice(0, half) if rng.random() < 0.5 else slice(half, None)
        twin[rows] = _recolour(rng, twin[rows], 40)
    return twin


def _distractor(rng: np.random.Generator, assets: Assets, target: Actor, size: float, config: SceneConfig) -> Actor:
    length = len(target.centre)
    similar = rng.random() < config.lookalike
    sprite = _lookalike(rng, target.sprite) if similar else _choose(rng, assets.sprites)
    scale = np.exp(rng.normal(0, 0.12 if similar else 0.3))
    extent = _fit(sprite, size * scale) * (1 + 0.1 * rng.random() * _smooth(rng, length, 2))
    distance = size * rng.uniform(1.0, 2.6)
    direction = rng.uniform(0, 2 * np.pi)
    offset = distance * np.array([np.cos(direction), np.sin(direction)])
    speed = size * config.speed * rng.gamma(1.5, 0.7)
    kind = rng.choice(["together", "crossing", "alone", "still"], p=[0.45, 0.25, 0.2, 0.1])
    if kind == "together":
        path = target.centre + offset + _walk(rng, length, 0.3 * speed)
    elif kind == "crossing":  # meets the target, but not at the start, where a tracker is given its box
        meeting = int(rng.integers(length // 3, length))
        relative = _walk(rng, length, max(speed, 1.5 * size / max(meeting, 1)))
        path = target.centre + relative - relative[meeting] + config.passing * offset
    elif kind == "alone":
        path = target.centre[0] + offset + _walk(rng, length, speed)
    else:
        path = np.repeat((target.centre[rng.integers(length)] + offset)[None], length, 0)
    angle = target.angle + rng.normal(0, 0.15) if similar else np.full(length, rng.uniform(-0.3, 0.3))
    return Actor(sprite, path, extent, angle, target.shadow)


def _occluder(rng: np.random.Generator, assets: Assets, target: Actor, size: float) -> Actor:
    """Draw an occluder that meets the target in the second half and is clear of it at the first frame."""
    length = len(target.centre)
    sprite = _patch(rng, _choose(rng, assets.grounds))
    extent = np.repeat(_fit(sprite, size)[None], length, 0)
    meeting = int(rng.integers(length // 2, length))
    own = float(target.size.mean())
    where = target.centre[meeting] + rng.normal(0, 0.4, 2) * own
    angle = rng.uniform(0, 2 * np.pi)
    away = where - target.centre[0]
    missing = max(0.0, 0.8 * (size + own) - float(np.hypot(*away)))
    drift = missing / max(meeting, 1) * np.array([np.cos(angle), np.sin(angle)])
    if drift @ away > 0:
        drift = -drift  # it comes from the other side
    path = where + (np.arange(length) - meeting)[:, None] * drift
    return Actor(sprite, path, extent, np.full(length, rng.uniform(-3, 3)))


def _camera(
    rng: np.random.Generator,
    path: FloatArray,
    size: float,
    config: SceneConfig,
    frame_size: tuple[int, int] | None,
) -> FloatArray:
    length = len(path)
    shake = config.shake * rng.gamma(1.5, 0.7)
    zoom = np.exp(np.cumsum(_smooth(rng, length, 1)[:, 0]) * config.zoom * rng.random())
    roll = np.cumsum(_smooth(rng, length, 1)[:, 0]) * rng.choice([0, 0.25, 1]) * config.roll
    jitter = size * shake * (rng.normal(size=(length, 2)) + _smooth(rng, length, 2))
    if frame_size is None:
        view = np.zeros(2)
        focus = path[0] + np.cumsum(_smooth(rng, length, 2) * size * shake, 0)
    else:
        view = np.array(frame_size) / 2
        focus = path[0] + np.zeros((length, 2))
        for t in range(1, length):  # a gimbal that lags behind the target
            focus[t] = focus[t - 1] + 0.08 * (path[t] - focus[t - 1])
    cos, sin = np.cos(roll), np.sin(roll)
    linear = np.stack((np.stack((cos, -sin), -1), np.stack((sin, cos), -1)), -2) * zoom[:, None, None]
    offset = view + jitter - np.einsum("tij,tj->ti", linear, focus)
    return np.concatenate((linear, offset[..., None]), -1)


@functools.lru_cache(maxsize=8)
def _read_images(folder: Path, flags: int) -> tuple[Frame, ...]:
    files = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and is_utf8(path))
    images = tuple(image for path in files if (image := cv2.imread(str(path), flags)) is not None)
    if not images:
        raise DatasetError(f"no readable image under '{folder}'; give a folder of .jpg, .png or .webp files")
    return images


def _is_cutout(image: NDArray[Any]) -> bool:
    return image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 4 and bool((image[..., 3] > 127).any())


def _read_polygons(folder: Path, smallest: int = 24) -> list[Sprite]:
    sprites = []
    for path in sorted((folder / "polygons").rglob("*.txt")):
        stem = path.relative_to(folder / "polygons").with_suffix("")
        file = find_file(folder / "images" / stem, IMAGE_SUFFIXES)
        image = cv2.imread(str(file)) if file is not None and is_utf8(file) else None
        if image is None:
            continue
        limit = np.array(image.shape[1::-1])
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if not line.strip():
                continue
            try:
                points = np.array(line.split()[1:], np.float64).reshape(-1, 2) * limit
            except ValueError:
                points = np.empty((0, 2))
            if len(points) < 3 or not np.isfinite(points).all():
                raise DatasetError(f"{path}:{number}: expected a class and at least three x y pairs in 0–1")
            low, high = np.floor(points.min(0)).astype(int), np.ceil(points.max(0)).astype(int)
            extent = high - low
            touches = bool((low <= 1).any() or (high >= limit - 1).any())
            if touches or extent.min() < smallest or extent.max() > 3.5 * extent.min():
                continue
            cover = np.zeros(extent[::-1], np.uint8)
            cv2.fillPoly(cover, [np.round(points - low).astype(np.int32)], 255)
            sprites.append(np.dstack((image[low[1] : high[1], low[0] : high[0]], cover)))
    return sprites
