"""Frames of any number, from files, folders and live sources."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from tctrack.errors import SourceError
from tctrack.serve.footage import Live, Recording
from tctrack.types import Frame
from tctrack.video import open_source
from tctrack.video.sources import LiveSource
from tests.clips import frame_number, square_frames, write_cut_video, write_video

IDENTITY = np.array([1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30], ">i4").tobytes()
QUARTER = np.array([0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30], ">i4").tobytes()


def open_video(path: Path) -> Recording:
    return Recording(str(path), open_source(path))


def test_every_frame_of_a_file_is_found_in_any_order(tmp_path: Path) -> None:
    video = open_video(write_video(tmp_path / "clip.mp4", 40))
    for index in (0, 1, 2, 30, 29, 3, 0, 39):
        shot = video.at(index)
        assert (shot.index, frame_number(shot.frame)) == (index, index)
        assert shot.time == pytest.approx(index / 25)
    assert video.advance(39) is None
    assert [frame_number(shot.frame) for shot in video.between(7, 9)] == [7, 8, 9]
    with pytest.raises(SourceError, match="no frame 40"):
        video.at(40)


def test_a_variable_rate_keeps_its_times(tmp_path: Path) -> None:
    path, ticks = tmp_path / "clip.mp4", [0, 1, 2, 10, 30, 31, 60, 61]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"g": "4"})
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for tick, frame in zip(ticks, square_frames(8), strict=True):
            picture = av.VideoFrame.from_ndarray(frame, format="bgr24")
            picture.pts, picture.time_base = tick, Fraction(1, 10)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    video = open_video(path)
    for index in (7, 3, 4, 0, 5):
        shot = video.at(index)
        assert frame_number(shot.frame) == index
        assert shot.time == pytest.approx(ticks[index] / 10)


def test_a_phones_video_stands_upright(tmp_path: Path) -> None:
    data = write_video(tmp_path / "clip.mp4", 3).read_bytes()
    head, first, tail = data.partition(IDENTITY)  # of the file; the track's is the next
    (tmp_path / "turned.mp4").write_bytes(head + first + tail.replace(IDENTITY, QUARTER, 1))
    with open_source(tmp_path / "turned.mp4") as source:
        expected = next(iter(source))
    found = open_video(tmp_path / "turned.mp4").at(0).frame
    assert found.shape == (160, 120, 3)
    np.testing.assert_allclose(found.astype(int), expected.astype(int), atol=12)


def test_a_cut_file_gives_what_it_has(tmp_path: Path) -> None:
    video = open_video(write_cut_video(tmp_path / "cut.avi", 30, 0.5))
    shown = video.at(0)
    while (shot := video.advance(shown.index)) is not None:
        shown = shot
    assert 10 < shown.index < 20


def test_a_folder(tmp_path: Path) -> None:
    for index, frame in enumerate(square_frames(12)):
        cv2.imwrite(str(tmp_path / f"{index}.png"), frame)
    folder = Recording(str(tmp_path), open_source(tmp_path))
    for index in (0, 1, 10, 3):
        assert frame_number(folder.at(index).frame) == index


class Camera:
    """Gives frames whose number can be told."""

    rate: float | None = None
    damaged = 0

    def __init__(self) -> None:
        self._frames = iter(square_frames(30))

    def read(self) -> Frame | None:
        return next(self._frames, None)

    def close(self) -> None:
        pass


def test_a_live_source_can_be_looked_back_at_as_far_as_is_kept(tmp_path: Path) -> None:
    camera = Camera()
    live = Live(LiveSource("camera", camera, lambda: camera), tmp_path, kept=20_000)
    shot = live.advance(-1)
    while shot is not None and shot.index < 29:
        shot = live.advance(shot.index)
    numbers = live.numbers
    assert numbers[0] == live.first
    assert numbers[-1] == 29
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 20_000
    assert [frame_number(shot.frame) for shot in live.between(0, 29)] == numbers
    assert frame_number(live.at(numbers[0]).frame) == numbers[0]
    if numbers[0]:
        with pytest.raises(SourceError, match="no longer kept"):
            live.at(numbers[0] - 1)
    live.close()
