"""Track in the browser: open a video, camera or stream, draw boxes, watch, and download what was tracked.

Prints the page's address. Only this machine can open it, unless --host names another address: then the page needs the
token in the printed address. Pages can open what they upload, and the videos and image folders under --root.

Examples:
  tctrack serve
  tctrack serve flight.mp4 --port 8080
  tctrack serve --root recordings --host 0.0.0.0
"""

from __future__ import annotations

import argparse
import re
import secrets
import socket
from pathlib import Path
from typing import Annotated

from tctrack.config import Bounds, Count, argument
from tctrack.errors import ConfigError, OutputError, SourceError, require

Port = Annotated[int, Bounds(0, 65535)]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("source", nargs="?", metavar="SOURCE", help="what a page opens at once: as of 'tctrack track'")
    parser.add_argument("--port", type=argument(Port), default=8000, help="0 for a free one (default: %(default)s)")
    parser.add_argument(
        "--root", type=Path, default=Path(), metavar="DIR", help="pages can open what is here (default: .)"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: %(default)s)")
    parser.add_argument("--token", help="what pages need at another --host (default: a new one)")
    parser.add_argument("--max-upload", type=argument(Count), default=2000, metavar="MB", help="(default: %(default)s)")
    parser.add_argument("--model", default="tctrack-lite", metavar="NAME|PATH", help="default: %(default)s")
    parser.add_argument("--weights", metavar="FILE", help="the model's weights, if not the shipped ones")


def run(args: argparse.Namespace) -> int:
    """Serve until stopped."""
    uvicorn = require("uvicorn", "serve")
    for package in ("starlette", "websockets"):
        require(package, "serve")
    from tctrack.serve.app import LOCAL, Settings, create_app
    from trackers import tracker_factory

    if not args.root.is_dir():
        raise SourceError(f"--root {args.root} is no folder")
    if args.source and not (args.source.isdecimal() or "://" in args.source or Path(args.source).exists()):
        raise SourceError(f"{args.source}: there is no such video file or image folder")
    token = args.token
    if token and not re.fullmatch(r"[\w.~-]+", token):
        raise ConfigError("--token: it stands in an address; use letters, digits, '-', '_', '.' and '~'")
    if args.host not in LOCAL:
        token = token or secrets.token_urlsafe(16)
    listener = _listen(args.host, args.port)
    make_tracker = tracker_factory(args.model, **({"weights": args.weights} if args.weights else {}))
    app = create_app(Settings(make_tracker, args.root.resolve(), args.source, token, args.max_upload * 1_000_000))
    shown = _own_address() if args.host in ("0.0.0.0", "::") else args.host
    host = f"[{shown}]" if ":" in shown else shown
    query = f"?token={token}" if token else ""
    print(f"TCTrack is at http://{host}:{listener.getsockname()[1]}/{query} (Ctrl-C ends it)", flush=True)
    config = uvicorn.Config(
        app,
        log_level="warning",
        timeout_graceful_shutdown=1,
        ws_per_message_deflate=False,  # JPEG gets no smaller
    )
    uvicorn.Server(config).run(sockets=[listener])
    return 0


def _own_address() -> str:
    """Return this machine's address in its network; connecting a datagram socket sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return socket.gethostname()
        return str(probe.getsockname()[0])


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no host has this name"
        raise OutputError(f"cannot listen at {host}, port {port}: {reason}; choose another --host or --port") from None
