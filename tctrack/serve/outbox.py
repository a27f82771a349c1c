"""What waits to be sent to a page: every message, and of the pictures the newest, once the page has room for it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from tctrack.serve.footage import encode
from tctrack.types import Frame
from tctrack.video import Record

#: Pictures that are sent before the page has said that it showed the first of them.
ROOM = 2
#: Larger pictures are made smaller, in pixels.
WIDEST = 1280


@dataclass
class Picture:
    """A frame to show, what to say of it, and the records since the picture before."""

    frame: Frame
    about: dict[str, Any]
    records: list[Record] = field(default_factory=list)

    def encode(self) -> bytes:
        """Return the length of a JSON header (4 bytes, little-endian), the header, and a JPEG."""
        records = [record.as_json() for record in self.records]
        header = json.dumps({**self.about, "records": records}).encode()
        return len(header).to_bytes(4, "little") + header + encode(self.frame, WIDEST)


class Outbox:
    """Filled by the player's thread, emptied by the event loop in which it was made."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._lock = threading.Lock()
        self._messages: deque[str] = deque()
        self._picture: Picture | None = None
        self._room = ROOM

    def tell(self, **message: Any) -> None:
        """Send a message."""
        with self._lock:
            self._messages.append(json.dumps(message))
        self._wake()

    def show(self, picture: Picture) -> None:
        """Send a picture, unless a newer one comes before the page has room for it; no record is left out."""
        with self._lock:
            if self._picture is not None:
                picture.records = self._picture.records + picture.records
            self._picture = picture
        self._wake()

    def forget(self, target: int, first: int) -> None:
        """Let the page forget what it knows of a target from a frame on."""
        with self._lock:
            if self._picture is not None:
                kept = [one for one in self._picture.records if one.id != target or one.frame < first]
                self._picture.records = kept
        self.tell(forget={"id": target, "first": first})

    def acknowledge(self) -> None:
        """Make room for another picture: the page has shown one."""
        self._room = min(self._room + 1, ROOM)
        self._changed.set()

    async def take(self) -> str | Picture:
        """Wait for what to send next."""
        while True:
            self._changed.clear()
            with self._lock:
                if self._messages:
                    return self._messages.popleft()
                if self._picture is not None and self._room:
                    picture, self._picture = self._picture, None
                    self._room -= 1
                    return picture
            await self._changed.wait()

    def _wake(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._changed.set)
