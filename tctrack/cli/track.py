"""Track a target in a video file, camera, stream or image folder.

SOURCE is a video file, a camera's index, an RTSP or HTTP URL, or a folder of images in numeric order. Without --box,
the target is drawn on the first frame with the mouse. Outputs appear whole when the run ends, also after Ctrl-C (or q
or Esc in the window), a lost stream or a damaged file: what was tracked until then is kept, beside an older result as
NAME.partial.SUFFIX.

Examples:
    tctrack track flight.mp4 --box 120,80,40,60 --out tracked.mp4
    tctrack track 0 --show
    tctrack track rtsp://drone.local/live --box 600,340,50,40 --jsonl boxes.jsonl
    tctrack track frames/ --box 120,80,40,60 --boxes boxes.txt --start 100 --frames 200
    tctrack track flight.mp4 --model nano --weights nanotrackv2/ --show
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from tctrack.errors import BoxError
from tctrack.files import check_outputs

if TYPE_CHECKING:
    from tctrack.types import Box, Frame, TrackResult
    from trackers import Tracker

#: Share of the newest frame in the running mean of the tracking time.
SMOOTHING = 0.1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("source", metavar="SOURCE", help="video file, camera index, URL, or folder of images")
    parser.add_argument(
        "--box", metavar="X,Y,W,H", help="the target in the first frame, in pixels (--box=-4,… if x < 0)"
    )
    parser.add_argument(
        "--model", default="tctrack-lite", metavar="NAME|PATH", help="tracker or checkpoint (default: %(default)s)"
    )
    parser.add_argument("--weights", metavar="FILE", help="the model's weights, if not the shipped ones")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, … (default: %(default)s)")
    parser.add_argument("--out", metavar="PATH", help="annotated video (.mp4), or folder for annotated frames")
    parser.add_argument("--boxes", metavar="FILE", help="text file, one x,y,w,h line a frame")
    parser.add_argument("--jsonl", metavar="FILE", help="JSON lines: frame, box, score, ms")
    parser.add_argument("--show", action="store_true", help="open a window; q or Esc ends the run")
    parser.add_argument("--start", type=int, default=0, metavar="N", help="skip the first N frames")
    parser.add_argument("--frames", type=int, metavar="N", help="track through N frames at most")


def run(args: argparse.Namespace) -> int:
    """Track, and write what was asked for."""
    from tqdm import tqdm

    from tctrack.geometry.boxes import check_box, parse_box
    from tctrack.video import (
        BoxSink,
        JsonlSink,
        Overlay,
        Window,
        check_display,
        open_picture_sink,
        open_source,
        select_box,
    )
    from trackers import build_tracker

    given = None if args.box is None else parse_box(args.box)
    outputs = {"--out": args.out, "--boxes": args.boxes, "--jsonl": args.jsonl}
    check_outputs(outputs, (args.source, args.model, args.weights))
    if args.show or given is None:
        check_display("--show" if args.show else "drawing the target's box (without --box)")

    clock = _Clock()
    try:
        with ExitStack() as stack:
            source = stack.enter_context(open_source(args.source, args.start, args.frames))
            size = source.info.width, source.info.height
            box = None if given is None else check_box(given, size)
            picture = open_picture_sink(args.out, size, source.info.fps) if args.out else None
            if picture:
                stack.enter_context(picture)
            boxes = stack.enter_context(BoxSink(args.boxes)) if args.boxes else None
            lines = stack.enter_context(JsonlSink(args.jsonl)) if args.jsonl else None
            sinks = [sink for sink in (picture, boxes, lines) if sink]
            wanted = {"weights": args.weights, "device": None if args.device == "auto" else args.device}
            tracker = build_tracker(args.model, **{key: value for key, value in wanted.items() if value is not None})
            frames = iter(source)
            if box is None:
                first = next(frames)
                box = select_box(first)
                frames = itertools.chain([first], frames)
            window = stack.enter_context(Window("tctrack: q or Esc ends")) if args.show else None
            overlay = Overlay(Path(args.model).stem)
            bar = stack.enter_context(tqdm(total=source.info.frames, unit="frame", disable=None))
            for sink in sinks:
                sink.whole = source.info.live  # a stream has no end but that of the run
            for frame, result, seconds in _follow(tracker, frames, box):
                clock.add(seconds)
                if boxes:
                    boxes.write(result)
                if lines:
                    lines.write(source.number, result, seconds)
                if picture or window:
                    drawn = overlay.draw(frame, result, clock.fps)
                    if picture:
                        picture.write(drawn)
                    if window and not window.show(drawn):
                        break
                bar.set_postfix_str(f"tracker {clock.fps or 0:.0f} FPS", refresh=False)
                bar.update()
            else:
                for sink in sinks:
                    sink.whole = True
    finally:
        if clock.frames:
            dropped = f", {source.dropped} dropped" if source.dropped else ""
            written = ", ".join(str(sink.published) for sink in sinks if sink.published)
            print(f"{clock.frames} frames{dropped}{clock.summary()}; wrote {written or 'no files'}")
    return 0


class _Clock:
    """Counts frames and tracking time. The first frame only starts the tracker, so it has no part in the speed."""

    def __init__(self) -> None:
        self.frames = 0
        self.fps: float | None = None
        self._total = 0.0
        self._mean = 0.0

    def add(self, seconds: float) -> None:
        if self.frames:
            self._total += seconds
            self._mean += (seconds - self._mean) * max(SMOOTHING, 1 / self.frames)
            self.fps = 1 / self._mean
        self.frames += 1

    def summary(self) -> str:
        return f", tracked at {(self.frames - 1) / self._total:.1f} FPS" if self._total else ""


def _follow(tracker: Tracker, frames: Iterable[Frame], box: Box) -> Iterator[tuple[Frame, TrackResult, float]]:
    """Yield frame, result and tracking time in seconds; the first result is the given box."""
    from tctrack.types import TrackResult

    for number, frame in enumerate(frames):
        began = time.perf_counter()
        if number:
            result = tracker.update(frame)
        else:
            tracker.init(frame, box)
            result = TrackResult(box)
        yield frame, result, time.perf_counter() - began


def _parse_box(text: str) -> list[float]:
    try:
        return [float(value) for value in text.split(",")]
    except ValueError:
        raise BoxError(f"--box '{text}' must be four numbers x,y,w,h in pixels, such as 120,80,40,60") from None
