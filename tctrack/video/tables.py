"""Where records go: text, JSON and annotation formats, in files, pipes, datagrams and a drone's data link.

Each of these is a context manager and has ``write(records)``, which is called once a frame with the records of its
targets, also where there are none. Files appear whole when they are closed; pipes and links have each frame at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit
from xml.sax.saxutils import quoteattr

from tctrack.errors import OutputError, mask, require
from tctrack.files import naming
from tctrack.types import State
from tctrack.video.session import Record
from tctrack.video.sinks import FileSink

Records = Sequence[Record]
Path_ = str | os.PathLike[str]


class _LineSink(FileSink):
    def __init__(self, path: Path_) -> None:
        super().__init__(path)
        with naming(path):
            self._file = self._draft.part.open("w", buffering=1, encoding="utf-8")

    def _write_line(self, line: str) -> None:
        with naming(self.path):
            self._file.write(line + "\n")
        self.count += 1

    def close(self) -> None:
        """Publish the file; does nothing the second time."""
        try:
            with naming(self.path):
                self._file.close()
        except OutputError:  # a full disk keeps the last line, but not the others
            self.whole = False
            raise
        finally:
            super().close()


class BoxSink(_LineSink):
    """One ``x,y,w,h`` line a frame, in pixels, three decimals, of one target; ``nan`` where it is not followed.

    Args:
        path: the file.
        target: the target's id.
    """

    def __init__(self, path: Path_, target: int = 1) -> None:
        super().__init__(path)
        self._id = target

    def write(self, records: Records) -> None:
        """Append the box of a frame."""
        box = next((record.box for record in records if record.id == self._id), (float("nan"),) * 4)
        self._write_line(",".join(f"{value:.3f}" for value in box))


class JsonlSink(_LineSink):
    """One JSON object a line for every target in every frame; see :meth:`Record.as_json`."""

    def write(self, records: Records) -> None:
        """Append the records of a frame."""
        for record in records:
            self._write_line(json.dumps(record.as_json()))


class CsvSink(_LineSink):
    """A table of all targets in all frames, under a line of headings; an empty cell is not known."""

    COLUMNS = ("frame", "time", "wall", "id", "x", "y", "w", "h", "score", "confidence", "state")

    def write(self, records: Records) -> None:
        """Append the records of a frame."""
        for record in records:
            cells = record.as_json()
            cells |= dict(zip("xywh", cells["box"], strict=True))
            if not self.count:
                self._write_line(",".join(self.COLUMNS))
            self._write_line(",".join("" if cells[name] is None else str(cells[name]) for name in self.COLUMNS))


class MotSink(_LineSink):
    """The MOT Challenge's ``frame,id,x,y,w,h,confidence,-1,-1,-1``, frames from 1; a lost target is not there.

    Where the tracker knows no confidence, its score stands, or 1.
    """

    def write(self, records: Records) -> None:
        """Append the records of a frame."""
        for record in records:
            if record.state != "lost":
                values = (*record.box, next(v for v in (record.confidence, record.score, 1.0) if v is not None))
                numbers = ",".join(f"{value:.3f}" for value in values)
                self._write_line(f"{record.frame + 1},{record.id},{numbers},-1,-1,-1")


class _DocumentSink(FileSink, ABC):
    """What can only be written when all records are known.

    Args:
        path: the file.
        size: width and height of the frames.
    """

    def __init__(self, path: Path_, size: tuple[int, int]) -> None:
        super().__init__(path)
        self._size = size
        self._frames: list[Records] = []

    def write(self, records: Records) -> None:
        """Append the records of a frame."""
        self._frames.append(records)
        self.count += len(records)

    def close(self) -> None:
        """Publish the file; does nothing the second time."""
        try:
            if self.count and self._draft.part.exists():
                with naming(self.path):
                    self._draft.part.write_text(self._document(), encoding="utf-8")
        except OutputError:
            self.count = 0
            raise
        finally:
            super().close()

    @abstractmethod
    def _document(self) -> str: ...


class CocoSink(_DocumentSink):
    """COCO annotations with a ``track_id`` each; a lost target is not there.

    Args:
        path: the file.
        size: width and height of the frames.
        name_of: gives the name of a frame's image by its number, as :meth:`Source.name_of` does.
    """

    def __init__(self, path: Path_, size: tuple[int, int], name_of: Callable[[int], str]) -> None:
        super().__init__(path, size)
        self._name_of = name_of

    def _document(self) -> str:
        width, height = self._size
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for record in (record for records in self._frames for record in records):
            if not images or images[-1]["id"] != record.frame:
                name = self._name_of(record.frame)
                images.append({"id": record.frame, "file_name": name, "width": width, "height": height})
            if record.state != "lost":
                annotations.append({
                    "id": len(annotations) + 1, "image_id": record.frame, "category_id": 1, "track_id": record.id,
                    "bbox": [round(value, 3) for value in record.box], "area": round(record.box.w * record.box.h, 3),
                    "iscrowd": 0, "score": record.score,
                })  # fmt: skip
        categories = [{"id": 1, "name": "target"}]
        return json.dumps({"images": images, "annotations": annotations, "categories": categories})


class CvatSink(_DocumentSink):
    """CVAT's XML for videos, version 1.1: a hidden target is ``occluded``, a lost or dropped one ``outside``."""

    def _document(self) -> str:
        tracks: dict[int, list[str]] = {}
        last: dict[int, Record] = {}
        for records in self._frames:
            for record in records:
                tracks.setdefault(record.id, []).append(_cvat_box(record, record.frame, record.state))
            frame = records[0].frame if records else max((r.frame for r in last.values()), default=0) + 1
            for gone in last.keys() - {record.id for record in records}:
                tracks[gone].append(_cvat_box(last.pop(gone), frame, "lost"))
            last |= {record.id: record for record in records}
        body = "".join(
            f'  <track id="{number}" label="target">\n{"".join(boxes)}  </track>\n' for number, boxes in tracks.items()
        )
        size = "<original_size><width>{}</width><height>{}</height></original_size>".format(*self._size)
        labels = "<labels><label><name>target</name></label></labels>"
        meta = f"  <meta><task><mode>interpolation</mode>{labels}{size}</task></meta>\n"
        head = '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n'
        return f"{head}{meta}{body}</annotations>\n"


def _cvat_box(record: Record, frame: int, state: State) -> str:
    x, y, w, h = record.box
    values = {
        "frame": frame, "outside": int(state == "lost"), "occluded": int(state == "hidden"), "keyframe": 1,
        "xtl": f"{x:.2f}", "ytl": f"{y:.2f}", "xbr": f"{x + w:.2f}", "ybr": f"{y + h:.2f}", "z_order": 0,
    }  # fmt: skip
    return "    <box " + " ".join(f"{name}={quoteattr(str(value))}" for name, value in values.items()) + "></box>\n"


LinkType = TypeVar("LinkType", bound="_Link")


class _Link(ABC):
    """What has every frame at once. ``published`` names it once something was sent."""

    note = ""
    whole: bool | None = None

    def __init__(self, name: str) -> None:
        self._name = mask(name)
        self.published: str | None = None

    def __enter__(self: LinkType) -> LinkType:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, records: Records) -> None:
        """Send the records of a frame.

        Raises:
            OutputError: the other side is gone.
        """
        with naming(self._name):
            try:
                self._send(records)
            except BrokenPipeError:
                raise OutputError(f"{self._name}: its reader is gone") from None
        self.published = self._name

    @abstractmethod
    def _send(self, records: Records) -> None: ...

    @abstractmethod
    def close(self) -> None:
        """Let go of the link."""


class PipeSink(_Link):
    """JSON lines to standard output (``-``), a named pipe or a device. A pipe waits for its reader to open it."""

    def __init__(self, path: Path_) -> None:
        super().__init__("standard output" if path == "-" else os.fspath(path))
        with naming(path):
            target = os.dup(1) if path == "-" else path
            self._file = open(target, "w", encoding="utf-8")  # noqa: SIM115, PTH123 (a descriptor has no path)

    def _send(self, records: Records) -> None:
        self._file.writelines(json.dumps(record.as_json()) + "\n" for record in records)
        self._file.flush()

    def close(self) -> None:
        """Let go of the link."""
        with naming(self._name):
            self._file.close()


class UdpSink(_Link):
    """One JSON object a datagram to ``udp://host:port``. Nobody need listen.

    Raises:
        OutputError: the address has no host or port, or is unknown.
    """

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self._socket = _connect(address)

    def _send(self, records: Records) -> None:
        for record in records:
            _send_datagram(self._socket, json.dumps(record.as_json()).encode())

    def close(self) -> None:
        """Let go of the link."""
        self._socket.close()


class MavlinkSink(_Link):
    """MAVLink 2 of a camera: ``CAMERA_TRACKING_IMAGE_STATUS`` each frame, of the oldest target, and a heartbeat.

    A hidden target has the status ``COASTING``, a lost one ``ERROR``, no target ``IDLE``.

    Args:
        address: ``udp://host:port``, or a serial port such as ``/dev/ttyACM0`` or ``/dev/ttyACM0:921600``.
        size: width and height of the frames.

    Raises:
        DependencyError: pymavlink is not installed.
        OutputError: the address is not as above, or the port cannot be opened.
    """

    #: Seconds between heartbeats.
    HEARTBEAT = 1.0
    #: Of a serial port, where the address does not say.
    BAUD = 115_200

    def __init__(self, address: str, size: tuple[int, int]) -> None:
        super().__init__(address)
        self._size, self._beat = size, float("-inf")
        self._dialect = require("pymavlink.dialects.v20.common", "mavlink")
        self._port: Any
        if "://" in address:
            self._port = _connect(address)
        else:
            serial = require("serial", "mavlink")
            path, _, baud = address.partition(":")
            try:
                self._port = serial.Serial(path, int(baud or self.BAUD))
            except (OSError, ValueError) as error:
                raise OutputError(f"--mavlink {address}: cannot open the serial port: {error}") from None
        self._link = self._dialect.MAVLink(None, srcSystem=1, srcComponent=self._dialect.MAV_COMP_ID_CAMERA)

    def _send(self, records: Records) -> None:
        names = self._dialect
        if time.monotonic() - self._beat >= self.HEARTBEAT:
            self._beat = time.monotonic()
            kind, pilot = names.MAV_TYPE_CAMERA, names.MAV_AUTOPILOT_INVALID
            self._pack(names.MAVLink_heartbeat_message(kind, pilot, 0, 0, names.MAV_STATE_ACTIVE, 3))
        left = top = right = bottom = float("nan")
        status, mode = names.CAMERA_TRACKING_STATUS_FLAGS_IDLE, names.CAMERA_TRACKING_MODE_NONE
        if records:
            x, y, w, h = records[0].box
            width, height = self._size
            left, top, right, bottom = x / width, y / height, (x + w) / width, (y + h) / height
            mode = names.CAMERA_TRACKING_MODE_RECTANGLE
            status = {
                "tracked": names.CAMERA_TRACKING_STATUS_FLAGS_ACTIVE,
                "hidden": names.CAMERA_TRACKING_STATUS_FLAGS_COASTING,
                "lost": names.CAMERA_TRACKING_STATUS_FLAGS_ERROR,
            }[records[0].state]
        data, centre = names.CAMERA_TRACKING_TARGET_DATA_IN_STATUS, ((left + right) / 2, (top + bottom) / 2)
        fields = (status, mode, data, *centre, float("nan"), left, top, right, bottom)
        self._pack(names.MAVLink_camera_tracking_image_status_message(*fields))

    def _pack(self, message: Any) -> None:
        data = message.pack(self._link)
        self._link.seq = (self._link.seq + 1) % 256
        if isinstance(self._port, socket.socket):
            _send_datagram(self._port, data)
        else:
            self._port.write(data)

    def close(self) -> None:
        """Let go of the link."""
        self._port.close()


def open_jsonl(target: Path_) -> JsonlSink | PipeSink | UdpSink:
    """Open JSON lines: a file, a pipe or ``-`` for standard output, or ``udp://host:port``.

    Raises:
        OutputError: it cannot be written, or is an address of another kind.
    """
    text = os.fspath(target)
    if "://" in text:
        return UdpSink(text)
    if text == "-" or Path(text).is_fifo() or Path(text).is_char_device():
        return PipeSink(text)
    return JsonlSink(text)


def _connect(address: str) -> socket.socket:
    try:
        parts = urlsplit(address)
        if parts.scheme != "udp" or not parts.hostname or not parts.port:
            raise OutputError(f"{address}: records go to files, to - or to udp://host:port")
        family, kind, *_, place = socket.getaddrinfo(parts.hostname, parts.port, type=socket.SOCK_DGRAM)[0]
        link = socket.socket(family, kind)
        link.connect(place)
    except (OSError, ValueError) as error:
        raise OutputError(f"{address}: cannot be reached: {error}") from None
    return link


def _send_datagram(link: socket.socket, data: bytes) -> None:
    """Send, though nobody may listen yet: the system then refuses the datagram after."""
    with contextlib.suppress(ConnectionRefusedError):
        link.send(data)
