from __future__ import annotations

import datetime
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import av
import cv2
import numpy as np
import pytest

from tctrack.errors import OutputError
from tctrack.types import Box, State
from tctrack.video import (
    BoxSink,
    CocoSink,
    CvatSink,
    FrameSink,
    JsonlSink,
    MavlinkSink,
    MotSink,
    Record,
    VideoSink,
    open_jsonl,
    open_picture_sink,
    open_source,
)
from tctrack.video.sinks import ENCODERS
from tests.clips import HEIGHT, WIDTH, frame_number, square_frames

SIZE = (WIDTH, HEIGHT)
NOW = datetime.datetime(2026, 1, 2, 3, 4, 5, 678000, datetime.timezone.utc)


def record(frame: int = 0, target: int = 1, state: State = "tracked", **fields: Any) -> Record:
    values = {"box": Box(10.12345, 20, 30.5, 40), "score": 0.87654, "confidence": None, "offset": (0.5, -0.25)}
    values |= {"frame": frame, "time": frame / 25, "wall": NOW, "id": target, "state": state, "seconds": 0.0123456}
    return Record(**(values | fields))  # type: ignore[arg-type]


OPEN: dict[str, Callable[[Path], Any]] = {
    "boxes.txt": BoxSink,
    "boxes.jsonl": JsonlSink,
    "tracks.txt": MotSink,
    "tracks.xml": lambda path: CvatSink(path, SIZE),
    "tracks.json": lambda path: CocoSink(path, SIZE, str),
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
        assert source.info == (WIDTH, HEIGHT, pytest.approx(29.97, abs=1e-3), 12, False)
        assert [frame_number(frame) for frame in source] == list(range(12))


def test_video_of_odd_size(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (3, 121, 161, 3), np.uint8)
    with VideoSink(tmp_path / "a.mp4", (161, 121)) as sink:
        for frame in frames:
            sink.write(frame)
    assert open_source(tmp_path / "a.mp4").info == (162, 122, 30.0, 3, False)
    assert sink.note == "padded to 162x122"


def test_frames(tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    with FrameSink(tmp_path / "frames") as sink:
        for frame in square_frames(3):
            sink.write(frame)
    assert names(tmp_path) == ["frames"]
    assert names(tmp_path / "frames") == ["000001.jpg", "000002.jpg", "000003.jpg"]
    assert [frame_number(frame) for frame in open_source(tmp_path / "frames")] == [0, 1, 2]


def test_boxes(tmp_path: Path) -> None:
    with BoxSink(tmp_path / "a.txt", 2) as sink:
        sink.write([record(0), record(0, 2)])
        sink.write([record(1)])
        sink.write([])
    assert (tmp_path / "a.txt").read_text() == "10.123,20.000,30.500,40.000\n" + "nan,nan,nan,nan\n" * 2


def test_json_lines(tmp_path: Path) -> None:
    with JsonlSink(tmp_path / "a.jsonl") as sink:
        sink.write([record(7), record(7, 2, "lost", score=None, confidence=0.12345)])
        sink.write([])
    common = {"frame": 7, "time": 0.28, "wall": "2026-01-02T03:04:05.678+00:00", "box": [10.123, 20, 30.5, 40]}
    common |= {"offset": [0.5, -0.25], "ms": 12.35}
    assert [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()] == [
        common | {"id": 1, "score": 0.8765, "confidence": None, "state": "tracked"},
        common | {"id": 2, "score": None, "confidence": 0.1235, "state": "lost"},
    ]


def test_mot_challenge(tmp_path: Path) -> None:
    with MotSink(tmp_path / "a.txt") as sink:
        sink.write([record(0, score=None), record(0, 2, "hidden", confidence=0.5)])
        sink.write([record(1), record(1, 2, "lost")])
    assert (tmp_path / "a.txt").read_text().splitlines() == [
        "1,1,10.123,20.000,30.500,40.000,1.000,-1,-1,-1",
        "1,2,10.123,20.000,30.500,40.000,0.500,-1,-1,-1",
        "2,1,10.123,20.000,30.500,40.000,0.877,-1,-1,-1",
    ]


def test_coco(tmp_path: Path) -> None:
    with CocoSink(tmp_path / "a.json", SIZE, "img{}.jpg".format) as sink:
        sink.write([record(4), record(4, 2)])
        sink.write([record(5, 1, "lost"), record(5, 2)])
    found = json.loads((tmp_path / "a.json").read_text())
    images = [(image["id"], image["file_name"], image["width"], image["height"]) for image in found["images"]]
    assert images == [(4, "img4.jpg", *SIZE), (5, "img5.jpg", *SIZE)]
    assert [(a["id"], a["image_id"], a["track_id"]) for a in found["annotations"]] == [(1, 4, 1), (2, 4, 2), (3, 5, 2)]
    first = found["annotations"][0]
    assert (first["bbox"], first["area"], first["category_id"]) == ([10.123, 20, 30.5, 40], 1220, 1)
    assert found["categories"] == [{"id": 1, "name": "target"}]


def test_cvat(tmp_path: Path) -> None:
    with CvatSink(tmp_path / "a.xml", SIZE) as sink:
        sink.write([record(4), record(4, 2)])
        sink.write([record(5, 1, "hidden"), record(5, 2)])
        sink.write([record(6, 1, "lost")])
    root = ElementTree.parse(tmp_path / "a.xml").getroot()
    assert root.findtext("version") == "1.1"
    assert root.findtext("meta/task/original_size/width") == str(WIDTH)
    found = {
        track.get("id"): [(box.get("frame"), box.get("outside"), box.get("occluded")) for box in track]
        for track in root.findall("track")
    }
    assert found == {
        "1": [("4", "0", "0"), ("5", "0", "1"), ("6", "1", "0")],
        "2": [("4", "0", "0"), ("5", "0", "0"), ("6", "1", "0")],
    }
    box = root.find("track/box")
    assert box is not None
    assert [box.get(name) for name in ("xtl", "ytl", "xbr", "ybr")] == ["10.12", "20.00", "40.62", "60.00"]


def test_datagrams() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(5)
        with open_jsonl(f"udp://127.0.0.1:{receiver.getsockname()[1]}") as sink:
            for frame in range(2):
                sink.write([record(frame), record(frame, 2)])
                seen = [json.loads(receiver.recv(65_536)) for _ in range(2)]
                assert [(line["frame"], line["id"]) for line in seen] == [(frame, 1), (frame, 2)]
    with open_jsonl("udp://127.0.0.1:9") as sink:  # nobody listens
        for frame in range(3):
            sink.write([record(frame)])


def test_mavlink() -> None:
    """Decoded by pymavlink: what a ground station sees."""
    common = pytest.importorskip("pymavlink.dialects.v20.common", reason="the extra 'mavlink' is not installed")
    decoder, messages = common.MAVLink(None), []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as station:
        station.bind(("127.0.0.1", 0))
        station.settimeout(5)
        with MavlinkSink(f"udp://127.0.0.1:{station.getsockname()[1]}", (200, 100)) as sink:
            box = Box(50, 20, 20, 30)
            for records in ([record(box=box)], [record(state="hidden", box=box)], [record(state="lost", box=box)], []):
                sink.write(records)
        while len(messages) < 5:
            messages += decoder.parse_buffer(station.recv(4096)) or []
    beat, *statuses = messages
    assert (beat.get_type(), beat.type) == ("HEARTBEAT", common.MAV_TYPE_CAMERA)
    assert {status.get_type() for status in statuses} == {"CAMERA_TRACKING_IMAGE_STATUS"}
    names = ("ACTIVE", "COASTING", "ERROR", "IDLE")
    expected = [getattr(common, f"CAMERA_TRACKING_STATUS_FLAGS_{name}") for name in names]
    assert [status.tracking_status for status in statuses] == expected
    first = statuses[0]
    corners = (first.rec_top_x, first.rec_top_y, first.rec_bottom_x, first.rec_bottom_y, first.point_x, first.point_y)
    assert corners == pytest.approx((0.25, 0.2, 0.35, 0.5, 0.3, 0.35))
    assert [message.get_seq() for message in messages] == list(range(5))


def test_addresses_that_cannot_be(tmp_path: Path) -> None:
    for address in ("tcp://127.0.0.1:9", "udp://127.0.0.1", "udp://:9", "udp://h:x"):
        with pytest.raises(OutputError, match=r"udp://host:port|cannot be reached"):
            open_jsonl(address)
    with pytest.raises(OutputError, match="pictures go to files"):
        open_picture_sink("udp://127.0.0.1:9", SIZE, None)
    pytest.importorskip("pymavlink")
    pytest.importorskip("serial")
    with pytest.raises(OutputError, match="cannot open the serial port"):
        MavlinkSink(str(tmp_path / "none"), SIZE)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_time_stamps(suffix: str, tmp_path: Path) -> None:
    """Dropped frames keep their gaps; a clock that goes back, or is not there, does not stop the video."""
    with VideoSink(tmp_path / f"a{suffix}", SIZE, 10) as sink:
        for time, frame in zip((5.0, 5.1, 6.0, 2.0, None, 6.5), square_frames(6), strict=True):
            sink.write(frame, time)
    with av.open(str(tmp_path / f"a{suffix}")) as file:
        times = [frame.time for frame in file.decode(video=0)]
    assert np.diff(times) == pytest.approx([0.1, 0.9, 0.1, 0.1, 0.3], abs=2e-3)


def test_browsers_play_it(tmp_path: Path) -> None:
    for suffix, codec in {".mp4": "h264", ".mkv": "h264", ".webm": "vp9"}.items():
        with VideoSink(tmp_path / f"a{suffix}", SIZE) as sink:
            sink.write(square_frames(1)[0])
        with av.open(str(tmp_path / f"a{suffix}")) as file:
            context = file.streams.video[0].codec_context
            assert (context.name, context.pix_fmt) == (codec, "yuv420p")
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # it starts to play before it is loaded


def write_one(sink: Any) -> None:
    sink.write(square_frames(1)[0] if isinstance(sink, (VideoSink, FrameSink)) else [record()])


@pytest.mark.parametrize("name", OPEN)
def test_nothing_has_the_name_until_the_end_and_errors_lose_nothing(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with pytest.raises(KeyboardInterrupt), OPEN[name](path) as sink:  # noqa: PT012
        write_one(sink)
        assert not path.exists()
        raise KeyboardInterrupt
    assert names(tmp_path) == [name]
    assert path.is_dir() or path.stat().st_size > 10


@pytest.mark.parametrize("name", [name for name in OPEN if name != "frames"])
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
    monkeypatch.setitem(ENCODERS, ".mp4", ("xxxx", {}))
    with pytest.raises(OutputError, match=r"a\.mp4: cannot be written as video.*xxxx"):
        VideoSink(tmp_path / "a.mp4", SIZE)
    assert names(tmp_path) == []


def test_the_name_chooses_the_format(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with open_picture_sink(tmp_path / "a", SIZE, None) as sink:
        assert isinstance(sink, FrameSink)
    with open_picture_sink(tmp_path / "a.mp4", SIZE, None) as sink:
        assert isinstance(sink, VideoSink)
    with pytest.raises(OutputError, match="must end in"):
        open_picture_sink(tmp_path / "a.avi", SIZE, None)
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
        sink.write([record()])
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
    sink.write([record()])
    sink._file.close()
    sink._file = SimpleNamespace(close=lambda: os.fstat(-1))  # type: ignore[assignment]
    with pytest.raises(OutputError, match="cannot write"):
        sink.close()
    assert names(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_text().count("\n") == 1


def test_a_broken_video_does_not_replace_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.mp4").write_bytes(b"the one before")
    sink = VideoSink(tmp_path / "a.mp4", SIZE)
    sink.write(square_frames(1)[0])
    monkeypatch.setattr(sink, "_file", SimpleNamespace(mux=lambda _: os.fstat(-1), close=lambda: None))  # a full disk
    with pytest.raises(OutputError, match="could not be written whole"):
        sink.close()
    assert not sink.published
    assert names(tmp_path) == ["a.mp4"]
    assert (tmp_path / "a.mp4").read_bytes() == b"the one before"


@pytest.mark.parametrize("rate", [1e-320, 1 / 3600, 1000])
def test_any_rate_makes_a_video(rate: float, tmp_path: Path) -> None:
    with VideoSink(tmp_path / "a.mp4", SIZE, rate) as sink:
        for frame in square_frames(2):
            sink.write(frame)
    with open_source(tmp_path / "a.mp4") as source:
        assert len(list(source)) == 2
