"""Small videos for tests: a bright square that moves over noise, and the boxes it has."""

from __future__ import annotations

import itertools
from pathlib import Path

import cv2
import numpy as np

from tctrack.types import Box, Frame

WIDTH, HEIGHT, SIDE = 160, 120, 24


def square_box(index: int) -> Box:
    return Box(20.0 + 2 * index, 40.0 + index, SIDE, SIDE)


def square_frames(count: int) -> list[Frame]:
    """Frames whose number can be told from where the square is."""
    ground = np.random.default_rng(0).integers(60, 120, (HEIGHT, WIDTH, 3), np.uint8)
    checker = np.kron(np.indices((4, 4)).sum(0) % 2, np.ones((6, 6)))[..., None] * (200, 80, 255)
    frames = []
    for index in range(count):
        x, y = (int(value) for value in square_box(index)[:2])
        frame = ground.copy()
        frame[y : y + SIDE, x : x + SIDE] = checker
        frames.append(frame)
    return frames


def write_video(path: Path, count: int, codec: str = "mp4v") -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 25.0, (WIDTH, HEIGHT))
    for frame in itertools.islice(itertools.cycle(square_frames(min(count, 40))), count):
        writer.write(frame)
    writer.release()
    return path


def write_cut_video(path: Path, count: int, share: float) -> Path:
    """An .avi that promises ``count`` frames and holds about ``share`` of them."""
    data = write_video(path, count, "MJPG").read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def frame_number(frame: Frame) -> int:
    """Find which of :func:`square_frames` a compressed frame shows."""
    differences = [np.abs(frame.astype(int) - true).mean() for true in square_frames(40)]
    return int(np.argmin(differences))
