"""Plays one source in a thread of its own, and tracks on it what the page draws."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tctrack.errors import SourceError, TCTrackError
from tctrack.serve.footage import Footage, Live, Recording, Shot
from tctrack.serve.outbox import Outbox, Picture
from tctrack.types import Frame, OnlineTracker
from tctrack.video import Record, Session, decode_image, open_source
from tctrack.video.sources import LiveSource

log = logging.getLogger(__name__)
#: Frames that a target drawn on an older frame of a live source is followed through to the newest.
CATCH_UP = 12
#: Seconds to wait for a picture of the browser's camera.
PATIENCE = 10.0


@dataclass
class _Run:
    """Targets that are tracked in step, and the frame they were tracked in last."""

    session: Session
    shot: Shot


class Player:
    """Does what the page asks for, one thing after the other; every method but these is for its own thread.

    A target's history is kept: where it was tracked already, playing shows it again and tracks on from its end. A box
    drawn on an earlier frame starts its target there anew and leaves the other targets alone.

    Args:
        make_tracker: gives a new tracker for each target.
        outbox: where pictures and messages go.
        folder: for the pictures of live sources.
    """

    def __init__(self, make_tracker: Callable[[], OnlineTracker], outbox: Outbox, folder: Path) -> None:
        self._make_tracker, self._outbox, self._folder = make_tracker, outbox, folder
        self._orders: queue.SimpleQueue[tuple[str, dict[str, Any]]] = queue.SimpleQueue()
        self._pushed: queue.Queue[bytes] = queue.Queue(maxsize=1)
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._footage: Footage | None = None
        self._clear()
        self._thread.start()

    # What other threads use.

    def order(self, action: str, **values: Any) -> None:
        """Ask for something: a method of this class without its underscore, and its arguments."""
        self._orders.put((action, values))

    def push(self, jpeg: bytes) -> None:
        """Take a picture of the browser's camera; one that was not looked at yet is forgotten."""
        with contextlib.suppress(queue.Empty):
            self._pushed.get_nowait()
        self._pushed.put(jpeg)

    def results(self) -> tuple[Footage, list[Record]]:
        """Return what was tracked, by frame and target, and in what.

        Raises:
            SourceError: nothing was tracked.
        """
        with self._lock:
            records = [record for target in self._records.values() for record in target.values()]
            if self._footage is None or not records:
                raise SourceError("nothing was tracked yet; draw a box first")
            return self._footage, sorted(records, key=lambda record: (record.frame, record.id))

    def end(self) -> None:
        """Close the source and end the thread; wait a little for what it is doing."""
        self.order("end")
        self._thread.join(timeout=2)

    # What the thread does.

    def _run(self) -> None:
        while True:
            try:
                action, values = self._orders.get(timeout=self._pause())
            except queue.Empty:
                action, values = "advance", {}
            try:
                getattr(self, f"_{action}")(**values)
            except TCTrackError as error:
                self._playing = False
                self._outbox.tell(error=str(error))
                self._show()
            except Exception:
                log.exception("the page asked for '%s'", action)
                self._playing = False
                self._outbox.tell(error=f"'{action}' failed; the server's log says why")
            if action == "end":
                return

    def _pause(self) -> float | None:
        """Return how long to wait for an order, in seconds; None for as long as it takes."""
        return max(0.0, self._due - time.monotonic()) if self._playing else None

    def _clear(self) -> None:
        if self._footage is not None:
            self._footage.close()
        with self._lock:
            self._footage = None
            self._records: dict[int, dict[int, Record]] = {}
        self._shot: Shot | None = None
        self._last: int | None = None
        self._runs: list[_Run] = []
        self._targets = self._newest = 0
        self._playing, self._speed, self._due = False, 1.0, 0.0
        self._seconds = 0.0

    def _open(self, spec: str, name: str) -> None:
        self._clear()
        source = open_source(spec)
        self._start(Live(source, self._folder) if source.info.live else Recording(spec, source), name)

    def _browse(self) -> None:
        self._clear()
        camera = _PushedCamera(self._pushed)
        self._start(Live(LiveSource("the browser's camera", camera, lambda: camera), self._folder), "Camera")

    def _start(self, footage: Footage, name: str) -> None:
        self._footage = footage
        info = footage.info
        self._last = None if info.frames is None else info.frames - 1
        self._outbox.tell(opened={**info._asdict(), "name": name})
        self._shot = footage.advance(-1)
        self._playing = info.live
        self._runs = [_Run(Session(self._make_tracker), self._shot)] if self._shot else []
        self._show()

    def _close(self) -> None:
        self._clear()
        self._outbox.tell(closed=True)

    _end = _clear

    def _play(self) -> None:
        if self._footage is None or self._shot is None:
            return
        if self._shot.index == self._last:
            self._shot = self._footage.at(0)
        self._playing, self._due = True, 0.0
        self._show()

    def _stop(self) -> None:
        self._playing = False
        self._show()

    def _hasten(self, speed: float) -> None:
        self._speed, self._due = speed, 0.0

    def _seek(self, frame: int) -> None:
        if self._footage is None:
            return
        self._playing = False
        last = self._newest if self._last is None else self._last
        self._shot = self._footage.at(min(max(frame, self._footage.first), last))
        self._show()

    def _advance(self) -> None:
        if self._footage is None or self._shot is None:
            self._playing = False
            return
        shot = self._footage.advance(self._shot.index)
        if shot is None:
            self._playing, self._last = False, self._shot.index
            self._show()
            return
        paced = self._speed and not self._footage.info.live
        step = (shot.time - self._shot.time) / self._speed if paced else 0
        self._due = max(self._due, time.monotonic() - 0.2) + step  # catches up, but not with a long delay
        self._shot, self._newest = shot, max(self._newest, shot.index)
        self._show(self._track(shot, self._runs))

    def _draw(self, frame: int, box: tuple[float, float, float, float], target: int | None) -> None:
        """Start a new target, or an old one anew, on a frame that was shown."""
        if self._footage is None or self._shot is None:
            return
        run = next((run for run in self._runs if run.shot.index == frame), None)
        shot = run.shot if run else self._shot if self._shot.index == frame else self._footage.at(frame)
        if run is None:
            run = next((run for run in self._runs if not run.session.ids), None) or self._new_run(shot)
        if target not in self._records:
            target = self._targets + 1
        run.session.add(shot.frame, box, target)
        run.shot, self._targets = shot, max(self._targets, target)
        self._release(target, keep=run)
        self._forget(target, shot.index)
        found = [one for one in run.session.step(*_shown(shot)) if one.id == target]
        self._keep(found)
        if isinstance(self._footage, Live):
            found += self._catch_up(run, self._footage)
        else:
            self._shot = shot  # and on from here
        self._show(found)

    def _catch_up(self, run: _Run, footage: Live) -> list[Record]:
        """Follow a run's targets from where they were drawn through some of the frames that came since."""
        missed = [index for index in footage.numbers if index > run.shot.index]
        found = []
        for index in missed[:: -(-len(missed) // CATCH_UP) or 1]:
            found += self._track(footage.at(index), [run])
        return found

    def _drop(self, target: int) -> None:
        """Follow a target no longer; forget one that is not followed."""
        if not self._release(target):
            self._forget(target, 0)
        self._show()

    def _new_run(self, shot: Shot) -> _Run:
        self._runs.append(_Run(Session(self._make_tracker), shot))
        return self._runs[-1]

    def _release(self, target: int, keep: _Run | None = None) -> bool:
        """Take a target out of its run; return whether it was in one."""
        found = [run for run in self._runs if run is not keep and target in run.session.ids]
        for run in found:
            run.session.drop(target)
        return bool(found)

    def _track(self, shot: Shot, runs: list[_Run]) -> list[Record]:
        """Track in the runs that have not come to this frame yet; return the new records."""
        found = []
        for run in runs:
            if run.shot.index < shot.index and run.session.ids:
                found += run.session.step(*_shown(shot))
                run.shot = shot
        self._keep(found)
        if found:
            spent = sum({one.seconds for one in found})
            self._seconds += (spent - self._seconds) * (0.1 if self._seconds else 1)
        return found

    def _keep(self, records: list[Record]) -> None:
        with self._lock:
            for record in records:
                self._records.setdefault(record.id, {})[record.frame] = record

    def _forget(self, target: int, first: int) -> None:
        """Forget a target's records from a frame on."""
        with self._lock:
            kept = {frame: record for frame, record in self._records.pop(target, {}).items() if frame < first}
            if kept:
                self._records[target] = kept
        self._outbox.forget(target, first)

    def _show(self, records: list[Record] | None = None) -> None:
        """Send the frame in view to the page."""
        if self._footage is None or self._shot is None:
            return
        about = {
            "frame": self._shot.index,
            "time": self._shot.time,
            "first": self._footage.first,
            "last": self._newest,
            "playing": self._playing,
            "targets": sorted(target for run in self._runs for target in run.session.ids),
            "fps": 1 / self._seconds if self._seconds else None,
            "dropped": self._footage.dropped,
        }
        self._outbox.show(Picture(self._shot.frame, about, records or []))


class _PushedCamera:
    """What :class:`tctrack.video.sources.LiveSource` reads, of pictures that a browser sends."""

    rate: float | None = None

    def __init__(self, pictures: queue.Queue[bytes]) -> None:
        self._pictures, self.damaged = pictures, 0

    def read(self) -> Frame | None:
        self.damaged = 0
        try:
            while (frame := decode_image(self._pictures.get(timeout=PATIENCE))) is None:
                self.damaged += 1
        except queue.Empty:
            return None
        return frame

    def close(self) -> None:
        pass


def _shown(shot: Shot) -> tuple[Frame, int, float]:
    return shot.frame, shot.index, shot.time
