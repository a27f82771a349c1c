"""Live tracking by the real command: a looped stream over HTTP, and a window."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import cv2
import pytest

from tctrack.cli import main
from tctrack.geometry.boxes import iou
from tctrack.video import open_source
from tests.clips import HEIGHT, WIDTH, frame_number, square_box, square_frames, write_video
from tests.screens import DOWN, MOVE, UP, Screen, Step
from tests.streams import LENGTH, place, rtsp_stream, square_stream


@pytest.fixture(scope="module")
def camera() -> Iterator[SimpleNamespace]:
    with square_stream() as stream:
        yield stream


@pytest.fixture
def stream(camera: SimpleNamespace) -> str:
    """The address of a camera that shows a moving square."""
    return f"http://127.0.0.1:{camera.port}/video"


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def overlap(record: dict[str, Any]) -> float:
    return float(iou(record["box"], square_box(place(record["frame"]))))


def test_a_given_box_is_used_on_the_first_frame(stream: str, tmp_path: Path) -> None:
    lines = tmp_path / "a.jsonl"
    box = ",".join(str(value) for value in square_box(0))
    assert main(["track", stream, "--box", box, "--frames", "12", "--jsonl", str(lines), "--device", "cpu"]) == 0
    records = read(lines)
    assert records[0]["frame"] <= 3  # the network was ready before the stream was opened
    assert overlap(records[-1]) > 0.4
    times = [record["time"] for record in records]
    assert times == sorted(times)


def test_a_box_drawn_on_a_stream(
    stream: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Live pictures until the mouse goes down, tracked from that very frame on, and soon on the newest."""
    lines = tmp_path / "a.jsonl"
    corners: list[tuple[int, int]] = []

    def script() -> Iterator[Step]:
        yield from [None] * 20
        x, y, w, h = square_box(frame_number(screen.shown[-1][..., :3]))
        corners[:] = [(round(x), round(y)), (round(x + w), round(y + h))]
        yield MOVE, *corners[0]
        x, y, w, h = square_box(frame_number(screen.shown[-1]))
        corners[:] = [(round(x), round(y)), (round(x + w), round(y + h))]
        yield DOWN, *corners[0]
        for _ in range(30):  # half a second, while the target goes on
            yield lambda: time.sleep(0.02)
        yield MOVE, *corners[1]
        yield UP, *corners[1]
        yield from [None] * 40
        yield "q"

    screen = Screen(monkeypatch, ())
    screen.script = script()
    assert main(["track", stream, "--show", "--jsonl", str(lines), "--device", "cpu"]) == 0
    records = read(lines)
    assert records[0]["frame"] >= 15  # the pictures before were live
    assert overlap(records[0]) > 0.6
    assert len(records) >= 30
    assert overlap(records[-1]) > 0.4
    steps = [second["frame"] - first["frame"] for first, second in itertools.pairwise(records)]
    assert max(steps[:5]) <= 8  # what came while the box was drawn is run through, thinned
    assert re.search(r"at most \d+ behind", capsys.readouterr().out)


@contextmanager
def running(*words: object, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """The real command, in a process of its own that does not outlive the test."""
    command = [sys.executable, "-m", "tctrack", "track", *map(str, words)]
    variables = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | environment
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=variables, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def station() -> Iterator[socket.socket]:
    """A UDP port that somebody listens at."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(60)
        yield receiver


def test_datagrams_while_it_runs(camera: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON and MAVLink of every frame at once, from a stream with a password that nothing repeats."""
    common = pytest.importorskip("pymavlink.dialects.v20.common", reason="the extra 'mavlink' is not installed")
    monkeypatch.chdir(tmp_path)
    source = f"http://pilot:secret@127.0.0.1:{camera.port}/video?token=hidden"
    with station() as listener, station() as ground:
        links = [f"udp://127.0.0.1:{link.getsockname()[1]}" for link in (listener, ground)]
        words = ("--box", "20,40,24,24", "--model", "static", "--jsonl", links[0], "--mavlink", links[1])
        with running(source, *words, "--out", "out.mp4") as process:
            records = [json.loads(listener.recv(65_536)) for _ in range(10)]
            decoder, messages = common.MAVLink(None), []
            while len(messages) < 10:
                messages += decoder.parse_buffer(ground.recv(4096)) or []
            assert process.poll() is None
            process.terminate()
            said = "".join(process.communicate(timeout=60))
    assert all(record["box"] == [20, 40, 24, 24] for record in records)
    assert all(set(record) >= {"frame", "time", "wall", "id", "score", "state", "offset"} for record in records)
    assert [datetime.fromisoformat(record["wall"]).utcoffset() for record in records] == [timedelta(0)] * 10
    statuses = [message for message in messages if message.get_type() == "CAMERA_TRACKING_IMAGE_STATUS"]
    assert len(statuses) >= 8
    for status in statuses:
        assert status.tracking_status == common.CAMERA_TRACKING_STATUS_FLAGS_ACTIVE
        assert (status.rec_top_x, status.rec_bottom_y) == pytest.approx((20 / WIDTH, 64 / HEIGHT))
    assert f"wrote out.mp4, {links[0]}, {links[1]}" in said
    assert not re.search("pilot|secret|hidden", said + json.dumps(records))
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_mavlink_over_a_serial_line(stream: str) -> None:
    common = pytest.importorskip("pymavlink.dialects.v20.common", reason="the extra 'mavlink' is not installed")
    pytest.importorskip("serial")
    ground, drone = os.openpty()
    words = ("--box", "20,40,24,24", "--model", "static", "--mavlink", f"{os.ttyname(drone)}:57600", "--frames", 5)
    with running(stream, *words) as process:
        assert process.communicate(timeout=60)[1] == ""
    messages = common.MAVLink(None).parse_buffer(os.read(ground, 65_536))
    assert [message.get_type() for message in messages] == ["HEARTBEAT", *["CAMERA_TRACKING_IMAGE_STATUS"] * 5]


def test_named_pipes(tmp_path: Path) -> None:
    """Motion JPEG from one, JSON lines into another, while more is to come."""
    for name in ("in", "out"):
        os.mkfifo(tmp_path / name)
    picture = cv2.imencode(".jpg", square_frames(1)[0])[1].tobytes()
    seen = threading.Event()

    def give() -> None:
        with (tmp_path / "in").open("wb") as pipe:
            pipe.writelines([picture] * 200)  # FFmpeg wants to see 1.5 MB first
            pipe.flush()
            seen.wait(60)
            pipe.write(picture)

    giver = threading.Thread(target=give, daemon=True)
    giver.start()
    words = ("--box", "20,40,24,24", "--model", "static", "--jsonl", tmp_path / "out")
    with running(tmp_path / "in", *words) as process, (tmp_path / "out").open() as take:
        frames = [json.loads(take.readline())["frame"]]
        seen.set()
        frames += [json.loads(line)["frame"] for line in take]
        assert process.wait(60) == 0
    assert frames == list(range(201))


def test_an_rtsp_stream(tmp_path: Path) -> None:
    lines, video = tmp_path / "a.jsonl", tmp_path / "a.mp4"
    with rtsp_stream() as port:
        words = ("--box", "20,40,24,24", "--model", "static", "--frames", 12, "--jsonl", lines, "--out", video)
        with running(f"rtsp://pilot:secret@127.0.0.1:{port}/live", *words) as process:
            said = "".join(process.communicate(timeout=60))
    frames = [record["frame"] for record in read(lines)]
    assert len(frames) == 12
    with open_source(video) as source:  # the newest at each time: the picture shows where the square was by then
        shown = [frame_number(frame) for frame in source]
    assert [abs(place(number) - found) <= 1 for number, found in zip(frames, shown, strict=True)] == [True] * 12
    assert not re.search("pilot|secret", said)


def test_a_udp_stream(tmp_path: Path) -> None:
    """H.264 in MPEG-TS, as drones send it."""
    with station() as free:
        address = f"udp://127.0.0.1:{free.getsockname()[1]}"
    lines, done = tmp_path / "a.jsonl", threading.Event()

    def send() -> None:
        with av.open(f"{address}?pkt_size=1316", "w", format="mpegts") as file:
            film = file.add_stream("libx264", 25, {"tune": "zerolatency", "preset": "ultrafast", "g": "10"})
            film.width, film.height = WIDTH, HEIGHT
            for frame in itertools.cycle(square_frames(26)):
                if done.wait(1 / 25):
                    return
                file.mux(film.encode(av.VideoFrame.from_ndarray(frame, format="bgr24")))

    sender = threading.Thread(target=send)
    sender.start()
    try:
        words = ("--box", "20,40,24,24", "--model", "static", "--frames", 5, "--jsonl", lines)
        with running(address, *words) as process:
            assert process.communicate(timeout=60)[1] == ""
    finally:
        done.set()
        sender.join()
    assert len(read(lines)) == 5


def has_screen() -> str:
    """Return why no real window can be tested here, or nothing."""
    if not (shutil.which("Xvfb") and shutil.which("xdotool")):
        return "needs Xvfb and xdotool"
    return "this OpenCV has no windows" if re.search(r"GUI:\s+NONE", cv2.getBuildInformation()) else ""


needs_screen = pytest.mark.skipif(bool(has_screen()), reason=has_screen())


class Desktop:
    """A real X display in memory, whose mouse and keys are moved from outside.

    Args:
        folder: for its pixels.
    """

    def __init__(self, folder: Path) -> None:
        read_end, write_end = os.pipe()
        command = ["Xvfb", "-displayfd", str(write_end), "-screen", "0", "1280x800x24", "-fbdir", str(folder)]
        self._server = subprocess.Popen(command, pass_fds=[write_end], stderr=subprocess.DEVNULL)
        self._pixels = folder / "Xvfb_screen0"
        self.name = f":{os.read(read_end, 16).decode().strip()}"

    def do(self, *words: object, after: float = 0.2) -> None:
        time.sleep(after)
        subprocess.run(["xdotool", *map(str, words)], env=os.environ | {"DISPLAY": self.name}, check=True)

    def wait_for_video(self) -> None:
        until = time.monotonic() + 20  # without a window manager, Qt now and then hears all and paints nothing
        while len(set(self._pixels.read_bytes()[-1280 * 800 * 4 :])) < 64 and time.monotonic() < until:
            time.sleep(0.1)
        time.sleep(0.5)

    def __enter__(self) -> Desktop:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.terminate()
        self._server.wait()


@needs_screen
def test_a_real_window(tmp_path: Path) -> None:
    """Mouse and keys through a real X server: draw, step, another target, drop, end; nothing on stderr."""
    video, lines = write_video(tmp_path / "clip.mp4", 26), tmp_path / "a.jsonl"
    with (
        Desktop(tmp_path) as desktop,
        running(video, "--show", "--model", "static", "--jsonl", lines, DISPLAY=desktop.name) as process,
    ):
        do = desktop.do
        desktop.wait_for_video()
        for x, y in ((20, 40), (80, 60)):
            do("mousemove", x, y, "mousedown", 1)
            do("mousemove", x + 20, y + 20)
            do("mousemove", x + 40, y + 30)
            do("mouseup", 1)
            do("key", "s")
            do("key", "n")
        do("mousemove", 100, 100)
        for key in ("Left", "Return", "Right", "Right", "Right", "Down", "Down", "Down", "Return", "s"):
            do("key", key)
        do("mousemove", 0, 0)
        for key in "dsq":
            do("key", key)
        assert process.communicate(timeout=60)[1] == ""
    boxes = {record["id"]: record["box"] for record in read(lines)}
    assert boxes == {1: [20, 40, 40, 30], 2: [80, 60, 40, 30], 3: [98, 100, 12, 12]}
    assert [record["id"] for record in read(lines)][-2:] == [1, 2]


@pytest.mark.slow  # it needs a machine that has nothing else to do
@needs_screen
def test_a_box_drawn_on_a_stream_is_on_its_target_within_a_second(camera: SimpleNamespace, tmp_path: Path) -> None:
    lines, address = tmp_path / "a.jsonl", f"http://127.0.0.1:{camera.port}/video"
    with (
        Desktop(tmp_path) as desktop,
        running(address, "--show", "--jsonl", lines, "--device", "cpu", DISPLAY=desktop.name) as process,
    ):
        do = desktop.do
        desktop.wait_for_video()
        x, y, w, h = map(round, square_box(LENGTH - 2))
        do("mousemove", x, y)
        while camera.sent % (2 * LENGTH - 2) != LENGTH - 3:  # about to turn back, so that the box fits for a while
            time.sleep(0.002)
        do("mousedown", 1, after=0)
        do("mousemove", x + w // 2, y + h // 2)
        do("mousemove", x + w, y + h)
        do("mouseup", 1)
        released, then = time.time(), camera.sent
        do("key", "q", after=1.5)
        assert process.communicate(timeout=60)[1] == ""
    later = [one for one in read(lines) if datetime.fromisoformat(one["wall"]).timestamp() >= released + 1]
    assert later[0]["frame"] > then  # it has caught up with what came while the box was drawn
    assert min(map(overlap, later)) > 0.4
