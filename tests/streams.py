"""An endless Motion JPEG stream over HTTP of the moving square, as a drone's camera would give it."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import cv2

from tests.clips import square_frames

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
