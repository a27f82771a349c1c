"""Live tracking by the real command: a looped stream over HTTP, and a window."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import pytest

from tctrack.cli import main
from tctrack.geometry.boxes import iou
from tests.clips import frame_number, square_box, square_frames, write_video
from tests.screens import DOWN, MOVE, UP, Screen, Step

ROOT = Path(__file__).resolve().parents[2]
FPS = 25.0
LENGTH = 26


def place(index: int) -> int:
    """Return which of the clip's frames a frame of the stream is: it goes to and fro."""
    return abs((index + LENGTH - 1) % (2 * LENGTH - 2) - LENGTH + 1)


@pytest.fixture(scope="module")
def stream() -> Iterator[str]:
    """The address of an endless Motion JPEG stream of a moving square."""
    pictures = [cv2.imencode(".jpg", frame)[1].tobytes() for frame in square_frames(LENGTH)]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            began = time.monotonic()
            try:
                for index in itertools.count():
                    data = pictures[place(index)]
                    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                    self.wfile.write(head.encode() + data + b"\r\n")
                    time.sleep(max(0.0, began + index / FPS - time.monotonic()))
            except OSError:
                pass

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/video"
    server.shutdown()
    server.server_close()


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


def test_a_box_drawn_on_a_stream(stream: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def has_screen() -> str:
    """Return why no real window can be tested here, or nothing."""
    if not (shutil.which("Xvfb") and shutil.which("xdotool")):
        return "needs Xvfb and xdotool"
    return "this OpenCV has no windows" if re.search(r"GUI:\s+NONE", cv2.getBuildInformation()) else ""


@pytest.mark.skipif(bool(has_screen()), reason=has_screen())
def test_a_real_window(tmp_path: Path) -> None:
    """Mouse and keys through a real X server: draw, pause, another target, drop, end; nothing on stderr."""
    video, lines = write_video(tmp_path / "clip.mp4", 26), tmp_path / "a.jsonl"
    read_end, write_end = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write_end), "-screen", "0", "1280x800x24"], pass_fds=[write_end],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    screen = os.environ | {"DISPLAY": f":{os.read(read_end, 16).decode().strip()}", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tctrack", "track", str(video), "--show", "--model", "static"]
    process = subprocess.Popen([*command, "--jsonl", str(lines)], env=screen, stderr=subprocess.PIPE, text=True)

    def do(*words: object) -> str:
        time.sleep(0.2)
        done = subprocess.run(["xdotool", *map(str, words)], env=screen, capture_output=True, text=True, check=False)
        return done.stdout

    try:
        until = time.monotonic() + 60
        while not do("search", "--name", "^tctrack$") and time.monotonic() < until:
            pass
        time.sleep(3)
        for x, y in ((20, 40), (80, 60)):
            do("mousemove", x, y, "mousedown", 1)
            do("mousemove", x + 20, y + 20)
            do("mousemove", x + 40, y + 30)
            do("mouseup", 1)
            do("key", "s", "key", "n")
        do("mousemove", 0, 0, "key", "Escape", "key", "d", "key", "s", "key", "q")
        error = process.communicate(timeout=60)[1]
    finally:
        process.kill()
        server.terminate()
    assert error == ""
    boxes = {record["id"]: record["box"] for record in read(lines)}
    assert boxes == {1: [20, 40, 40, 30], 2: [80, 60, 40, 30]}
    assert [record["id"] for record in read(lines)][-1] == 1
