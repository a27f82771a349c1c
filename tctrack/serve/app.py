"""The server of ``tctrack serve``: the page, its WebSocket, uploads, the files under a folder, and downloads.

Every page has a session of its own, with one source and one tracker, that ends when the page goes. Without a token the
server answers only to the names of this machine, so that no page of another site can reach it through the browser.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from tctrack.errors import SourceError, TCTrackError, mask
from tctrack.files import IMAGE_SUFFIXES, VIDEO_SUFFIXES, natural_key
from tctrack.serve.exports import NAMES, export
from tctrack.serve.outbox import Outbox
from tctrack.serve.player import Player
from tctrack.types import OnlineTracker
from tctrack.video.overlay import COLOURS

PAGE = Path(__file__).parent / "page"
#: Pages that are open at once, each with a tracker.
MAX_SESSIONS = 8
#: Streams that the page may ask for; others could name files.
SCHEMES = ("http", "https", "rtmp", "rtsp", "rtsps", "srt", "tcp", "udp")
LOCAL = ("127.0.0.1", "::1", "localhost")
COOKIE = "tctrack_token"
POLICY = "default-src 'self'; img-src 'self' blob: data:; connect-src 'self' ws: wss:; frame-ancestors 'none'"


@dataclass(frozen=True)
class Settings:
    """What a server offers, and to whom."""

    make_tracker: Callable[[], OnlineTracker]
    """Gives a new tracker for each target."""
    root: Path
    """The folder whose videos and image folders can be opened."""
    source: str | None = None
    """What a new page opens at once."""
    token: str | None = None
    """What a page must know; None for pages of this machine alone."""
    upload_limit: int = 2 << 30
    """Bytes."""


@dataclass
class Room:
    """The session of one page."""

    player: Player
    folder: Path
    upload: Path | None = None
    export: threading.Lock = field(default_factory=threading.Lock)


def create_app(settings: Settings) -> Starlette:
    """Return the application."""
    app = Starlette(
        routes=[
            Route("/", _page),
            Mount("/page", StaticFiles(directory=PAGE)),
            Route("/files", _files),
            Route("/upload/{session}", _upload, methods=["POST"]),
            Route("/download/{session}/{name}", _download),
            WebSocketRoute("/live", _live),
        ],
        middleware=[Middleware(Guard, token=settings.token)],
        exception_handlers={TCTrackError: _refuse},
    )
    app.state.settings = settings
    app.state.rooms = {}
    return app


class Guard:
    """Lets in who knows the token; without one, who asks for this machine by its own names. Other sites' pages never.

    Args:
        app: what it guards.
        token: in the query of the first page, then in a cookie.
    """

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let the application do so."""
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        if refusal := self._refusal(HTTPConnection(scope)):
            if scope["type"] == "websocket":
                return await send({"type": "websocket.close", "code": 1008, "reason": refusal})
            return await PlainTextResponse(refusal, 403)(scope, receive, send)
        return await self._app(scope, receive, send)

    def _refusal(self, asked: HTTPConnection) -> str | None:
        host = asked.headers.get("host", "")
        origin = asked.headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return "pages of other sites cannot use this server"
        if self._token is None:
            return None if urlsplit(f"//{host}").hostname in LOCAL else "this server answers to 127.0.0.1 and localhost"
        given = asked.query_params.get("token") or asked.cookies.get(COOKIE) or ""
        if secrets.compare_digest(given.encode(), self._token.encode()):
            return None
        return "open the address with the token that 'tctrack serve' printed"


def resolve(root: Path, path: str) -> Path:
    """Return what a path under the root leads to, links followed.

    Raises:
        SourceError: it leads out of the root, or nowhere.
    """
    try:
        found = (root / path).resolve(strict=True)
    except (OSError, ValueError):
        raise SourceError(f"{path}: there is no such file or folder") from None
    if not found.is_relative_to(root.resolve()):
        raise SourceError(f"{path}: is not under the folder that this server shows")
    return found


async def _refuse(_: Request, error: Exception) -> Response:
    return PlainTextResponse(str(error), 400)


async def _page(request: Request) -> Response:
    response = FileResponse(
        PAGE / "index.html", headers={"content-security-policy": POLICY, "referrer-policy": "no-referrer"}
    )
    if "token" in request.query_params:
        response.set_cookie(COOKIE, request.query_params["token"], httponly=True, samesite="strict")
    return response


def _files(request: Request) -> Response:
    root = request.app.state.settings.root
    folder = resolve(root, request.query_params.get("path", ""))
    if not folder.is_dir():
        raise SourceError(f"{folder.name}: is no folder")
    found = []
    for path in sorted(folder.iterdir(), key=lambda path: natural_key(path.name)):
        with contextlib.suppress(SourceError, OSError):
            if (kind := _kind(resolve(root, str(path)))) and not path.name.startswith("."):
                found.append({"name": path.name, "kind": kind, "size": path.stat().st_size})
    return JSONResponse(sorted(found, key=lambda entry: entry["kind"] != "folder"))


def _kind(path: Path) -> str | None:
    if path.is_file():
        return "video" if path.suffix.lower() in VIDEO_SUFFIXES else None
    if not path.is_dir():
        return None
    with os.scandir(path) as entries:
        return "images" if any(Path(entry.name).suffix.lower() in IMAGE_SUFFIXES for entry in entries) else "folder"


async def _upload(request: Request) -> Response:
    room = _room(request)
    limit: int = request.app.state.settings.upload_limit
    suffix = Path(request.query_params.get("name", "")).suffix.lower()
    if suffix not in VIDEO_SUFFIXES:
        raise SourceError(f"'{suffix}' is no video; choose one of {', '.join(sorted(VIDEO_SUFFIXES))}")
    too_large = PlainTextResponse(f"the file is larger than {limit / 1e6:.0f} MB, the limit of this server", 413)
    if int(request.headers.get("content-length", 0)) > limit:
        return too_large
    path, size = room.folder / f"upload{suffix}", 0
    try:
        with path.open("wb") as file:
            async for part in request.stream():
                size += len(part)
                if size > limit:
                    path.unlink()
                    return too_large
                await run_in_threadpool(file.write, part)
    except OSError as error:
        raise SourceError(f"the upload cannot be kept: {error.strerror}") from None
    room.upload = path
    return PlainTextResponse("")


def _download(request: Request) -> Response:
    room, name = _room(request), request.path_params["name"]
    footage, records = room.player.results()
    if name not in NAMES:
        return PlainTextResponse("there is no such file", 404)
    with room.export:
        export(room.folder / name, footage, records)
    return FileResponse(room.folder / name)


def _room(request: Request) -> Room:
    room: Room | None = request.app.state.rooms.get(request.path_params["session"])
    if room is None:
        raise SourceError("this session has ended; reload the page")
    return room


async def _live(socket: WebSocket) -> None:
    """Give a page its session, and take it away when the page goes."""
    settings: Settings = socket.app.state.settings
    rooms: dict[str, Room] = socket.app.state.rooms
    await socket.accept()
    if len(rooms) >= MAX_SESSIONS:
        return await socket.close(1013, f"{MAX_SESSIONS} pages are open already; close one and reload")
    session, outbox = secrets.token_urlsafe(12), Outbox()
    with TemporaryDirectory(prefix="tctrack-", ignore_cleanup_errors=True) as folder:
        room = rooms[session] = Room(Player(settings.make_tracker, outbox, Path(folder)), Path(folder))
        colours = [f"#{red:02x}{green:02x}{blue:02x}" for blue, green, red in COLOURS]
        outbox.tell(hello={"session": session, "upload_limit": settings.upload_limit, "colours": colours})
        if settings.source is not None:
            room.player.order("open", spec=settings.source, name=Path(mask(settings.source)).name)
        sender = asyncio.create_task(_send(socket, outbox))
        try:
            await _listen(socket, room, outbox, settings.root)
        except WebSocketDisconnect:
            pass
        finally:
            del rooms[session]
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)
            await run_in_threadpool(room.player.end)
    return None


async def _send(socket: WebSocket, outbox: Outbox) -> None:
    while True:
        item = await outbox.take()
        if isinstance(item, str):
            await socket.send_text(item)
        else:
            await socket.send_bytes(await asyncio.to_thread(item.encode))


async def _listen(socket: WebSocket, room: Room, outbox: Outbox, root: Path) -> None:
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return None
        if message.get("bytes"):
            room.player.push(message["bytes"])
            continue
        try:
            values = json.loads(message["text"])
            if values["action"] == "ack":
                outbox.acknowledge()
            else:
                _order(values, room, root)
        except TCTrackError as error:
            outbox.tell(error=str(error))
        except (ValueError, TypeError, KeyError, AttributeError):
            return await socket.close(1008, "the page sent what this server does not understand; reload it")


def _order(values: Mapping[str, Any], room: Room, root: Path) -> None:
    """Pass on what the page asks for.

    Raises:
        SourceError: it may not be opened.
        ValueError, TypeError, KeyError: the message is malformed.
    """
    order, action = room.player.order, values["action"]
    if action in ("play", "stop", "close"):
        order(action)
    elif action == "seek":
        order("seek", frame=int(values["frame"]))
    elif action == "hasten":
        order("hasten", speed=max(0.0, float(values["speed"])))
    elif action == "draw":
        x, y, w, h = map(float, values["box"])
        target = values["id"]
        order("draw", frame=int(values["frame"]), box=(x, y, w, h), target=None if target is None else int(target))
    elif action == "drop":
        order("drop", target=int(values["id"]))
    elif action != "open":
        raise ValueError(action)
    elif "browser" in values:
        order("browse")
    elif "upload" in values:
        if room.upload is None:
            raise SourceError("upload a video first")
        order("open", spec=str(room.upload), name=str(values["upload"]))
    elif "path" in values:
        path = resolve(root, str(values["path"]))
        order("open", spec=str(path), name=path.name)
    else:
        source = str(values["source"])
        if not source.isdecimal() and urlsplit(source).scheme not in SCHEMES:
            raise SourceError(f"'{source}' is no stream; give one of {', '.join(f'{scheme}://' for scheme in SCHEMES)}")
        name = f"Camera {source}" if source.isdecimal() else urlsplit(source).hostname or source
        order("open", spec=source, name=name)
