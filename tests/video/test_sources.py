from __future__ import annotations

import itertools
import os
import struct
import threading
from collections.abc import Iterable, Iterator
from fractions import Fraction
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from time import sleep
from typing import Any

import av
import cv2
import numpy as np
import pytest

from tctrack.errors import SourceError
from tctrack.types import Frame
from tctrack.video import VideoSink, open_source
from tctrack.video.sources import LiveSource
from tests.clips import HEIGHT, WIDTH, frame_number, square_frames, write_cut_video, write_video


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "clip.mp4", 20)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve images without leading zeros, among other files."""
    path = tmp_path_factory.mktemp("images")
    for index, frame in enumerate(square_frames(12)):
        cv2.imwrite(str(path / f"img{index}.png"), frame)
    (path / "groundtruth.txt").write_text("1,2,3,4")
    return path


def numbers(spec: Path | str, **options: int) -> list[int]:
    with open_source(spec, **options) as source:
        return [frame_number(frame) for frame in source]


def test_video_file(video: Path) -> None:
    with open_source(video) as source:
        assert source.info == (WIDTH, HEIGHT, 25.0, 20, False)
        frames = list(source)
    assert [frame_number(frame) for frame in frames] == list(range(20))
    assert frames[0].dtype == np.uint8
    assert frames[0].shape == (HEIGHT, WIDTH, 3)


def test_folder_in_numeric_order(folder: Path) -> None:
    with open_source(folder) as source:
        assert source.info == (WIDTH, HEIGHT, None, 12, False)
        for frame, true in zip(source, square_frames(12), strict=True):
            np.testing.assert_array_equal(frame, true)


@pytest.mark.parametrize("kind", ["video", "folder"])
def test_start_and_frames(kind: str, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(kind)
    assert numbers(path, start=7, frames=3) == [7, 8, 9]
    assert numbers(path, start=9)[:3] == [9, 10, 11]
    with open_source(path, start=7, frames=3) as source:
        assert source.info.frames == 3


@pytest.mark.parametrize("kind", ["video", "folder"])
@pytest.mark.parametrize("start", [50, 10**25])
def test_start_beyond_the_end(kind: str, start: int, request: pytest.FixtureRequest) -> None:
    with pytest.raises(SourceError, match=r"cannot start at frame \d+ of (20|12)"):
        open_source(request.getfixturevalue(kind), start=start)


@pytest.mark.parametrize(("options", "message"), [({"start": -1}, "frame -1"), ({"frames": 0}, "0 frames")])
def test_ranges_that_make_no_sense(options: dict[str, int], message: str, video: Path) -> None:
    with pytest.raises(SourceError, match=message):
        open_source(video, **options)


def test_a_cut_video_gives_its_frames_and_then_an_error(tmp_path: Path) -> None:
    with open_source(write_cut_video(tmp_path / "cut.avi", 40, 0.5)) as source:
        assert source.info.frames == 40
        given: list[int] = []
        with pytest.raises(SourceError, match=r"ends after \d+ of 40 frames"):
            given.extend(frame_number(frame) for frame in source)
    assert 10 < len(given) < 30
    assert given == list(range(len(given)))


def test_a_cut_video_is_no_matter_before_the_cut(tmp_path: Path) -> None:
    assert numbers(write_cut_video(tmp_path / "cut.avi", 40, 0.5), frames=10) == list(range(10))


def test_files_that_are_no_video(tmp_path: Path, video: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.mp4").write_text("not a video\n" * 100)
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "cut.mp4").write_bytes(video.read_bytes()[:3000])
    for name in ("text.mp4", "empty.mp4", "cut.mp4"):
        with pytest.raises(SourceError, match=f"{name}: no frame can be decoded"):
            open_source(tmp_path / name)
    assert capfd.readouterr().err == ""


def test_what_is_not_there(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SourceError, match="no such video file or image folder"):
        open_source(tmp_path / "missing.mp4")
    with pytest.raises(SourceError, match="has no name"):
        open_source("")
    with pytest.raises(SourceError, match="holds no images"):
        open_source(tmp_path)
    with pytest.raises(SourceError, match="camera 97: cannot be opened"):
        open_source("97")
    with pytest.raises(SourceError, match="cannot be opened"):
        open_source("rtsp://127.0.0.1:9/nothing")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"text", r"2\.png: the image cannot be read"), (None, r"2\.png: its size is 50x40, not 160x120")],
)
def test_a_folder_with_a_defect(content: bytes | None, message: str, tmp_path: Path) -> None:
    for index, frame in enumerate(square_frames(2)):
        cv2.imwrite(str(tmp_path / f"{index}.png"), frame)
    other = cv2.imencode(".png", np.zeros((40, 50, 3), np.uint8))[1].tobytes()
    (tmp_path / "2.png").write_bytes(content or other)
    frames = iter(open_source(tmp_path))
    assert [frame_number(next(frames)) for _ in range(2)] == [0, 1]
    with pytest.raises(SourceError, match=message):
        next(frames)


class Camera:
    """What LiveSource needs of a reader; delivers its frames at once and then waits for ``gate``."""

    def __init__(self, frames: Iterable[Frame]) -> None:
        self._frames = iter(frames)
        self.exhausted, self.gate, self.released = threading.Event(), threading.Event(), threading.Event()

    rate = 30.0
    damaged = 0

    def read(self) -> Frame | None:
        frame = next(self._frames, None)
        if frame is None:
            self.exhausted.set()
            self.gate.wait(5)
        return frame

    def close(self) -> None:
        self.released.set()


def no_camera() -> Camera:
    camera = Camera([])
    camera.gate.set()
    return camera


def test_a_live_source_gives_the_newest_frame_and_counts_the_others() -> None:
    camera = Camera(square_frames(30))
    with LiveSource("camera", camera, no_camera) as source:
        assert source.info == (WIDTH, HEIGHT, 30.0, None, True)
        camera.exhausted.wait(5)
        assert frame_number(next(iter(source))) == source.number == 29
        assert source.dropped == 29
        assert source.behind == 0
        camera.gate.set()
    assert camera.released.wait(5)


def test_a_live_source_comes_back() -> None:
    first, second = Camera(square_frames(1)), Camera(square_frames(6)[5:])
    first.gate.set()
    with LiveSource("stream", first, lambda: second) as source:
        assert [frame_number(frame) for frame in itertools.islice(source, 2)] == [0, 5]
        assert first.released.is_set()
        second.gate.set()


def test_a_live_source_that_stays_away() -> None:
    camera = Camera(square_frames(1))
    camera.gate.set()
    with LiveSource("stream", camera, no_camera, patience=0.1) as source:
        frames = iter(source)
        assert frame_number(next(frames)) == 0
        with pytest.raises(SourceError, match=r"stream: no frame came for 0\.1 s"):
            next(frames)


def test_frames_of_a_live_source() -> None:
    camera = Camera(square_frames(2))
    camera.gate.set()
    with LiveSource("camera", camera, lambda: Camera(square_frames(1)), frames=1) as source:
        assert len(list(source)) == 1


def test_a_pipe_that_is_live_ends() -> None:
    camera = Camera(square_frames(3))
    camera.gate.set()
    with LiveSource("standard input", camera, None) as source:
        assert [frame_number(frame) for frame in source][-1] == 2


def test_a_held_live_source_catches_up() -> None:
    """What came while it was held is given first, thinned but evenly; the rest is dropped but for the newest."""
    queue: Queue[Frame | None] = Queue()

    class Fed(Camera):
        def read(self) -> Frame | None:
            return queue.get(timeout=5)

    def feed(source: LiveSource, numbers: range) -> None:
        for number in numbers:
            queue.put(np.full((4, 4, 3), number, np.uint8))
            while source.behind < number - source.number:
                sleep(0.001)

    queue.put(np.zeros((4, 4, 3), np.uint8))
    with LiveSource("camera", Fed([]), None) as source:
        given = iter(source)
        assert next(given)[0, 0, 0] == 0
        source.hold()
        feed(source, range(1, 50))
        source.resume()
        feed(source, range(50, 55))
        assert source.behind == 54
        numbers = [next(given)[0, 0, 0]]
        while source.behind:
            numbers.append(next(given)[0, 0, 0])
        assert numbers == [*range(4, 50, 4), 54]
        assert source.dropped == 54 - len(numbers)
        queue.put(None)


def test_images_by_a_pattern(folder: Path) -> None:
    for index, frame in enumerate(square_frames(3)):
        cv2.imwrite(str(folder / f"set-{index:03d}.png"), frame)
    cv2.imwrite(str(folder / "set-abc.png"), frame)
    assert numbers(folder / "set-%03d.png") == [0, 1, 2]
    assert numbers(folder / "img%d.png", start=10) == [10, 11]
    with pytest.raises(SourceError, match="holds no images"):
        open_source(folder / "none%d.png")


def test_a_named_pipe(tmp_path: Path) -> None:
    """Motion JPEG, at the reader's pace: no frame is lost."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    data = b"".join(cv2.imencode(".jpg", frame)[1].tobytes() for frame in square_frames(30))
    writer = threading.Thread(target=pipe.write_bytes, args=(data,))
    writer.start()
    assert numbers(pipe) == list(range(30))
    writer.join()


@pytest.mark.parametrize("kept", [2, 200, 0.5, 0.98, -3])
@pytest.mark.parametrize("live", [False, True])
def test_cut_jpegs_of_a_video_are_passed_over_and_counted(kept: float, live: bool, tmp_path: Path) -> None:
    """Of which FFmpeg would show the rest as grey, or as the frame before."""
    pictures = [cv2.imencode(".jpg", frame)[1].tobytes() for frame in square_frames(6)]
    pictures[3] = pictures[3][: int(kept * len(pictures[3])) if isinstance(kept, float) else kept]
    video = tmp_path / "a.mkv"
    with av.open(str(video), "w") as file:
        stream = file.add_stream("mjpeg", 25, width=WIDTH, height=HEIGHT, pix_fmt="yuvj420p")
        for number, data in enumerate(pictures):
            packet = av.Packet(data)
            packet.stream, packet.pts, packet.time_base = stream, number, Fraction(1, 25)
            file.mux(packet)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    threading.Thread(target=pipe.write_bytes, args=(b"".join(pictures),), daemon=True).start()
    for path in (video,) if kept in (2, 200) else (video, pipe):  # in a pipe, a part of the head goes with the next
        with open_source(path, live=live) as source:
            if live:
                source.hold()
            given = [(source.number, frame_number(frame)) for frame in source]
            assert source.dropped == 6 - len(given)
        whole = [(number, number) for number in (0, 1, 2, 4, 5)]
        assert given[-1] == whole[-1]
        assert set(given) <= set(whole) if live else given == whole  # some may have come before it was held


def test_unknown_addresses_are_refused_by_a_list() -> None:
    with pytest.raises(SourceError, match=r"unknown kind of address 'ftp://'; choose one of http, https, .*udp"):
        open_source("ftp://somewhere/video")


def test_a_video_keeps_its_size(tmp_path: Path) -> None:
    frames = [*square_frames(3), np.zeros((60, 80, 3), np.uint8)]
    (tmp_path / "a.mjpeg").write_bytes(b"".join(cv2.imencode(".jpg", frame)[1].tobytes() for frame in frames))
    with open_source(tmp_path / "a.mjpeg") as source, pytest.raises(SourceError, match="of frame 3 is 80x60, not 160x"):
        list(source)


def test_times(video: Path, tmp_path: Path) -> None:
    with open_source(video, start=5) as source:
        assert [source.time for _ in source] == pytest.approx([number / 25 for number in range(5, 20)])
    with VideoSink(tmp_path / "a.mp4", (WIDTH, HEIGHT)) as sink:
        for time, frame in zip((3.0, 3.1, 3.5, 4.25), square_frames(4), strict=True):
            sink.write(frame, time)
    with open_source(tmp_path / "a.mp4") as source:
        assert [source.time for _ in source] == pytest.approx([0, 0.1, 0.5, 1.25], abs=1e-4)


@pytest.mark.parametrize("matrix", [(0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0)])
def test_turned_videos_are_turned_back(matrix: tuple[int, ...], video: Path, tmp_path: Path) -> None:
    """As phones write them: the picture's rotation stands in the track's header."""
    upright = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    a, b, c, d = (value << 16 for value in matrix)
    turned = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    head, film, track = video.read_bytes().split(upright)
    (tmp_path / "turned.mp4").write_bytes(head + upright + film + turned + track)
    found, expected = cv2.VideoCapture(str(tmp_path / "turned.mp4")).read()
    assert found
    with open_source(tmp_path / "turned.mp4") as source:
        np.testing.assert_array_equal(next(iter(source)), expected)


@pytest.fixture
def serve() -> Iterator[Any]:
    """Start a local web server with a request handler; give its address."""
    servers = []

    def start(handler: Any) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def test_a_url_with_a_length_is_read_like_a_file(video: Path, serve: Any) -> None:
    address = serve(partial(Quiet, directory=str(video.parent)))
    with open_source(f"{address}/clip.mp4", start=2) as source:
        assert not source.info.live
        assert [frame_number(frame) for frame in source] == list(range(2, 20))


class Stream(BaseHTTPRequestHandler):
    """Motion JPEG without an end."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        pictures = [cv2.imencode(".jpg", frame)[1].tobytes() for frame in square_frames(30)]
        try:
            while True:
                for data in pictures:
                    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                    self.wfile.write(head.encode() + data + b"\r\n")
        except OSError:
            pass

    def log_message(self, *_: object) -> None:
        pass


def test_a_stream_without_a_length_is_live(serve: Any) -> None:
    with open_source(f"{serve(Stream)}/video", frames=3) as source:
        assert source.info.live
        assert source.info.frames is None
        assert [frame.shape for frame in source] == [(HEIGHT, WIDTH, 3)] * 3


@pytest.mark.data
def test_real_videos_have_a_frame_for_each_line_of_boxes(shared: Path) -> None:
    for path in sorted((shared / "data" / "videos").glob("UAVDT*.mp4")):
        lines = len(path.with_suffix(".txt").read_text().split())
        with open_source(path, start=lines - 2) as source:
            assert source.info.frames == 2, path.name
            assert sum(1 for _ in source) == 2, path.name
