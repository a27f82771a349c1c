from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from tctrack.errors import OutputError
from tctrack.types import Box, TrackResult
from tctrack.video import BoxSink, FrameSink, JsonlSink, VideoSink, open_picture_sink, open_source
from tests.clips import HEIGHT, WIDTH, frame_number, square_frames

RESULT = TrackResult(Box(10.12345, 20, 30.5, 40), 0.87654)
SIZE = (WIDTH, HEIGHT)
OPEN: dict[str, Callable[[Path], Any]] = {
    "boxes.txt": BoxSink,
    "boxes.jsonl": JsonlSink,
    "video.mp4": lambda path: VideoSink(path, SIZE),
    "frames": FrameSink,
}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_video(tmp_path: Path) -> None:
    with VideoSink(tmp_path / "new" / "a.mp4", SIZE, 29.97) as sink:
        for frame in square_frames(12):
            sink.write(frame)
    assert names(tmp_path / "new") == ["a.mp4"]
    with open_source(tmp_path / "new" / "a.mp4") as source:
        assert source.info == (WIDTH, HEIGHT, pytest.approx(29.97), 12, False)
        assert [frame_number(frame) for frame in source] == list(range(12))


def test_video_of_odd_size(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (3, 121, 161, 3), np.uint8)
    with VideoSink(tmp_path / "a.mp4", (161, 121)) as sink:
        for frame in frames:
            sink.write(frame)
    assert open_source(tmp_path / "a.mp4").info == (160, 120, 30.0, 3, False)


def test_frames(tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    with FrameSink(tmp_path / "frames") as sink:
        for frame in square_frames(3):
            sink.write(frame)
    assert names(tmp_path) == ["frames"]
    assert names(tmp_path / "frames") == ["000001.jpg", "000002.jpg", "000003.jpg"]
    assert [frame_number(frame) for frame in open_source(tmp_path / "frames")] == [0, 1, 2]


def test_boxes(tmp_path: Path) -> None:
    with BoxSink(tmp_path / "a.txt") as sink:
        sink.write(RESULT)
        sink.write(TrackResult(Box(0, 0, 1, 2)))
    assert (tmp_path / "a.txt").read_text() == "10.123,20.000,30.500,40.000\n0.000,0.000,1.000,2.000\n"


def test_json_lines(tmp_path: Path) -> None:
    with JsonlSink(tmp_path / "a.jsonl") as sink:
        sink.write(7, RESULT, 0.0123456)
        sink.write(8, TrackResult(Box(0, 0, 1, 2)), 0)
    assert [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()] == [
        {"frame": 7, "box": [10.123, 20, 30.5, 40], "score": 0.8765, "ms": 12.35},
        {"frame": 8, "box": [0, 0, 1, 2], "score": None, "ms": 0},
    ]


def write_one(sink: Any) -> None:
    arguments = {BoxSink: (RESULT,), JsonlSink: (0, RESULT, 0.1)}.get(type(sink), square_frames(1))
    sink.write(*arguments)


@pytest.mark.parametrize("name", OPEN)
def test_nothing_has_the_name_until_the_end_and_errors_lose_nothing(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with pytest.raises(KeyboardInterrupt), OPEN[name](path) as sink:  # noqa: PT012
        write_one(sink)
        assert not path.exists()
        raise KeyboardInterrupt
    assert names(tmp_path) == [name]
    assert path.is_dir() or path.stat().st_size > 10


@pytest.mark.parametrize("name", ["boxes.txt", "boxes.jsonl", "video.mp4"])
def test_an_older_file_stays_until_there_is_a_newer(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text("old")
    with OPEN[name](path):
        pass
    assert path.read_text() == "old"
    with OPEN[name](path) as sink:
        write_one(sink)
        assert path.read_text() == "old"
    assert path.read_bytes() != b"old"
    assert names(tmp_path) == [name]


@pytest.mark.parametrize("name", OPEN)
def test_unwritable_paths_are_found_at_once(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write"):
        OPEN[name](tmp_path / "file" / name)
    assert names(tmp_path) == ["file"]


def test_only_regular_files_are_replaced(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no regular file"):
        BoxSink("/dev/null")
    (tmp_path / "a.mp4").mkdir()
    with pytest.raises(OutputError, match="no regular file"):
        VideoSink(tmp_path / "a.mp4", SIZE)


def test_frames_do_not_mix_with_others(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(OutputError, match="new or empty"):
        FrameSink(tmp_path)


def test_missing_encoders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tctrack.video.sinks.CODECS", ("xxxx",))
    with pytest.raises(OutputError, match=r"cannot write 160x120 video \(tried xxxx\)"):
        VideoSink(tmp_path / "a.mp4", SIZE)
    assert names(tmp_path) == []


def test_the_name_chooses_the_format(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with open_picture_sink(tmp_path / "a", SIZE, None) as sink:
        assert isinstance(sink, FrameSink)
    with open_picture_sink(tmp_path / "a.mp4", SIZE, None) as sink:
        assert isinstance(sink, VideoSink)
    with pytest.raises(OutputError, match=r"must end in \.mp4"):
        open_picture_sink(tmp_path / "a.gif", SIZE, None)
    assert capfd.readouterr().err == ""


def test_written_pictures_are_close(tmp_path: Path) -> None:
    true = cv2.GaussianBlur(square_frames(1)[0], (0, 0), 3)
    with VideoSink(tmp_path / "a.mp4", SIZE) as sink:
        sink.write(true)
    (read,) = open_source(tmp_path / "a.mp4")
    assert np.abs(read.astype(int) - true).mean() < 6


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link.txt").symlink_to("real.txt")
    with BoxSink(tmp_path / "link.txt") as sink:
        sink.write(RESULT)
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text().count("\n") == 1


def test_a_video_takes_frames_of_its_size_alone(tmp_path: Path) -> None:
    with VideoSink(tmp_path / "a.mp4", SIZE) as sink:
        sink.write(square_frames(1)[0])
        with pytest.raises(OutputError, match=r"a frame of 64x48 does not fit"):
            sink.write(np.zeros((48, 64, 3), np.uint8))
    assert sink.published
    for fps in (0.0, -3.0, float("nan"), 1e9):
        with pytest.raises(OutputError, match="frames a second"):
            VideoSink(tmp_path / "b.mp4", SIZE, fps)


def test_a_full_disk_keeps_the_lines_before_it(tmp_path: Path) -> None:
    sink = BoxSink(tmp_path / "a.txt")
    sink.write(RESULT)
    sink._file.close()
    sink._file = SimpleNamespace(close=lambda: os.fstat(-1))  # type: ignore[assignment]
    with pytest.raises(OutputError, match="cannot write"):
        sink.close()
    assert names(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_text().count("\n") == 1


def test_a_broken_video_does_not_replace_another(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"the one before")
    sink = VideoSink(tmp_path / "a.mp4", SIZE)
    sink.write(square_frames(1)[0])
    sink._writer.release()
    sink._draft.part.write_bytes(sink._draft.part.read_bytes()[:40])  # what a full disk leaves
    with pytest.raises(OutputError, match="could not be written whole"):
        sink.close()
    assert not sink.published
    assert names(tmp_path) == ["a.mp4"]
    assert (tmp_path / "a.mp4").read_bytes() == b"the one before"
