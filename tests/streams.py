"""Endless streams of the moving square, as a drone's camera would give them: Motion JPEG over HTTP, H.264 by RTSP."""

from __future__ import annotations

import contextlib
import itertools
import re
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import StreamRequestHandler, ThreadingTCPServer
from types import SimpleNamespace

import av
import cv2

from tests.clips import HEIGHT, WIDTH, square_frames

FPS = 25.0
LENGTH = 26


def place(index: int) -> int:
    """Return which of the clip's frames a frame of the stream is: it goes to and fro."""
    return abs((index + LENGTH - 1) % (2 * LENGTH - 2) - LENGTH + 1)


@contextmanager
def square_stream() -> Iterator[SimpleNamespace]:
    """Give the ``port`` of a stream, and ``sent``, the frame that was sent last to who came last."""
    pictures = [cv2.imencode(".jpg", frame)[1].tobytes() for frame in square_frames(LENGTH)]
    about = SimpleNamespace(port=0, sent=0)

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
                    about.sent = index
                    time.sleep(max(0.0, began + index / FPS - time.monotonic()))
            except OSError:
                pass

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    about.port = server.server_port
    yield about
    server.shutdown()
    server.server_close()


class _Camera(StreamRequestHandler):
    """As much of RTSP as FFmpeg asks for, the pictures in the same connection."""

    SDP = b"v=0\r\ns=camera\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:track\r\n"

    def handle(self) -> None:
        while request := self.rfile.readline().decode():
            head = [line.decode().strip() for line in iter(self.rfile.readline, b"\r\n")]
            number = next(line for line in head if line.startswith("CSeq"))
            body = self.SDP if request.startswith("DESCRIBE") else b""
            about = "Content-Type: application/sdp\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1"
            answer = f"RTSP/1.0 200 OK\r\n{number}\r\n{about}\r\nContent-Length: {len(body)}\r\n\r\n"
            self.wfile.write(answer.encode() + body)
            if request.startswith("PLAY"):
                with contextlib.suppress(OSError):
                    self._play()
                return

    def _play(self) -> None:
        encoder = av.CodecContext.create("libx264", "w")
        encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = WIDTH, HEIGHT, "yuv420p", Fraction(1, 25)
        encoder.options = {"tune": "zerolatency", "preset": "ultrafast", "g": "10", "x264-params": "repeat-headers=1"}
        frames, began, sent = square_frames(LENGTH), time.monotonic(), 0
        for index in itertools.count():
            for packet in encoder.encode(av.VideoFrame.from_ndarray(frames[place(index)], format="bgr24")):
                units = re.split(b"\0?\0\0\1", bytes(packet))[1:]
                for unit in units:
                    last = 128 if unit is units[-1] else 0
                    data = struct.pack(">BBHII", 128, last | 96, sent % 65536, 3600 * index, 1) + unit
                    self.wfile.write(struct.pack(">cBH", b"$", 0, len(data)) + data)
                    sent += 1
            time.sleep(max(0.0, began + index / FPS - time.monotonic()))


@contextmanager
def rtsp_stream() -> Iterator[int]:
    """Give the port of a stream."""
    with ThreadingTCPServer(("127.0.0.1", 0), _Camera) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()
