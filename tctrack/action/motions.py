"""Generated clips whose label is how something moves, never how a frame looks.

A square moves along a ring of eight places; each clip shows every place once. The label is its direction, its speed
(one or three places a frame) and which of two flashes, red and blue, comes first; they are half a clip apart. So for
every label the unordered set of a clip's frames has the same distribution: a model that ignores time stays at chance.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tctrack.errors import OutputError
from tctrack.files import make_folder, write_text

#: Frames of a clip, and places of the ring.
LENGTH = 8
_VELOCITIES = {"slowly right": 1, "slowly left": -1, "fast right": 3, "fast left": -3}
_ORDERS = ("red first", "blue first")
#: What each label means.
MOTIONS = tuple(f"{motion}, {order}" for motion, order in itertools.product(_VELOCITIES, _ORDERS))


def motion_clips(count: int, rng: np.random.Generator, side: int = 32) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Draw clips.

    Returns:
        clips ``(count, LENGTH, side, side, 3)`` in BGR and their labels ``(count,)``, indices into :data:`MOTIONS`.
    """
    labels = rng.integers(len(MOTIONS), size=count)
    velocities = np.array(list(_VELOCITIES.values()))[labels // 2]
    places = (rng.integers(LENGTH, size=(count, 1)) + velocities[:, None] * np.arange(LENGTH)) % LENGTH
    early = rng.integers(LENGTH // 2, size=count)
    late = early + LENGTH // 2
    red, blue = np.where(labels % 2 == 0, (early, late), (late, early))

    square = side // 4
    top = rng.integers(side - square, size=count)
    light = rng.integers(170, 220, size=count)
    phase = 2 * np.pi * np.arange(side) / side  # the ground's colour gives the place away
    ground = np.stack([90 + 50 * np.cos(phase), 90 + 50 * np.sin(phase), np.full(side, 90)], -1)
    clips = 6 * rng.standard_normal((count, LENGTH, side, side, 3), np.float32) + ground.astype(np.float32)
    columns = (places[..., None] * side // LENGTH + np.arange(square)) % side
    for n, t in np.ndindex(count, LENGTH):
        colour = {red[n]: (40, 40, 250), blue[n]: (250, 40, 40)}.get(t, (light[n],) * 3)
        rows, across = clips[n, t, top[n] : top[n] + square], columns[n, t]
        rows[:, across] += np.asarray(colour, np.float32) - ground[across]
    return clips.clip(0, 255).astype(np.uint8), labels


def write_motion_videos(folder: Path, count: int, seed: int, side: int = 64) -> Path:
    """Write ``count`` clips as .mp4 files and a Kinetics list ``list.csv`` of them; return the list's path.

    Raises:
        OutputError: a video cannot be written.
    """
    import cv2

    make_folder(folder)
    clips, labels = motion_clips(count, np.random.default_rng(seed), side)
    lines = []
    for index, (clip, label) in enumerate(zip(clips, labels, strict=True)):
        path = folder / f"{index:05d}.mp4"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 8, (side, side))
        if not writer.isOpened():
            raise OutputError(f"cannot write {path}: OpenCV has no mp4v encoder here")
        for frame in clip:
            writer.write(frame)
        writer.release()
        lines.append(f"{path.name} {label}\n")
    listing = folder / "list.csv"
    write_text(listing, "".join(lines))
    return listing
