"""Track targets in a video file, camera, stream, pipe or images.

SOURCE is a video file; a camera's index or /dev/video0; a URL (http, https, rtmp, rtp, rtsp, rtsps, srt, tcp, udp); a
named pipe, or - for standard input (Motion JPEG, raw H.264, whatever FFmpeg reads without seeking); a folder of images,
or a pattern such as img%03d.jpg. Of cameras and streams the newest frame is tracked and the others are dropped; the
last line counts them, and says how far behind the tracker was at most.

Without --box, the target is drawn with the mouse, or the arrow keys and Enter. In the window of --show: drag a box
around a target, n another target, r draw again, d drop, space pause, s one frame on, . and , faster and slower, h help,
q end.

Every record (--jsonl, --mavlink) tells a target's box, score, confidence, state (tracked, hidden or lost) and its
centre's offset from the picture's in -1 to 1. Pipes, udp:// and MAVLink have each frame at once; files appear whole
when the run ends, also after Ctrl-C, a lost stream or a damaged file: what was tracked until then is kept, beside an
older result as NAME.partial.SUFFIX. When no output is asked for, an annotated video is written into the current folder.

Examples:
    tctrack track flight.mp4 --box 120,80,40,60 --out tracked.mp4
    tctrack track flight.mp4 --box 120,80,40,60 --box 300,90,30,30 --mot tracks.txt
    tctrack track 0 --show
    tctrack track rtsp://drone.local/live --box 600,340,50,40 --jsonl udp://127.0.0.1:9000
    tctrack track rtsp://drone.local/live --box 600,340,50,40 --mavlink udp://127.0.0.1:14550
    cat flight.h264 | tctrack track - --box 120,80,40,60 --jsonl - | jq .offset
    tctrack track frames/ --box 120,80,40,60 --boxes boxes.txt --start 100 --frames 200
    tctrack track flight.mp4 --model nano --weights nanotrackv2/ --show
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tctrack.errors import BoxError
from tctrack.files import check_outputs, read_text

if TYPE_CHECKING:
    from tctrack.video import Record

#: Share of the newest frame in the running mean of the tracking time.
SMOOTHING = 0.1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("source", metavar="SOURCE", help="video, camera, URL, pipe or images: see above")
    parser.add_argument(
        "--box",
        action="append",
        metavar="X,Y,W,H|FILE",
        help="a target in the first frame, in pixels (--box=-4,… if x < 0), or a file of one a line; repeat for more",
    )
    parser.add_argument(
        "--model", default="tctrack-lite", metavar="NAME|PATH", help="tracker or checkpoint (default: %(default)s)"
    )
    parser.add_argument("--weights", metavar="FILE", help="the model's weights, if not the shipped ones")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, … (default: %(default)s)")
    parser.add_argument(
        "--engine", default="auto", help="what runs the network: auto, onnx, torch, compiled, openvino (default: auto)"
    )
    parser.add_argument(
        "--out",
        metavar="PATH",
        help="annotated video (.mp4, .mov, .mkv or .webm; odd sizes are padded), or folder for annotated frames",
    )
    parser.add_argument("--boxes", metavar="FILE", help="text file, one x,y,w,h line a frame; FILE-2 for target 2, …")
    parser.add_argument(
        "--jsonl", metavar="FILE", help="a JSON object a target and frame: file, pipe, - or udp://HOST:PORT"
    )
    parser.add_argument("--mot", metavar="FILE", help="the result as MOT Challenge text")
    parser.add_argument("--cvat", metavar="FILE", help="the result as CVAT XML for videos")
    parser.add_argument("--coco", metavar="FILE", help="the result as COCO annotations")
    parser.add_argument(
        "--mavlink", metavar="ADDRESS", help="CAMERA_TRACKING_IMAGE_STATUS to udp://HOST:PORT, or /dev/ttyACM0[:BAUD]"
    )
    parser.add_argument("--show", action="store_true", help="open a window; h lists its keys")
    parser.add_argument("--no-save", action="store_true", help="write no video where no output is asked for")
    parser.add_argument(
        "--live", action="store_true", help="drop frames that come while busy, also from a pipe or file"
    )
    parser.add_argument("--start", type=int, default=0, metavar="N", help="skip the first N frames")
    parser.add_argument("--frames", type=int, metavar="N", help="track through N frames at most")


def run(args: argparse.Namespace) -> int:
    """Track, and write what was asked for."""
    from tqdm import tqdm

    from tctrack.geometry.boxes import check_box, parse_box
    from tctrack.video import (
        BoxSink,
        CocoSink,
        CvatSink,
        MavlinkSink,
        MotSink,
        Operator,
        Overlay,
        Session,
        Window,
        check_display,
        open_jsonl,
        open_picture_sink,
        open_source,
    )
    from trackers import tracker_factory

    given = [parse_box(line) for text in args.box or () for line in _box_lines(text)]
    inputs = args.source, args.model, args.weights, *(args.box or ())
    asked = {"--out": args.out, "--jsonl": args.jsonl, "--mot": args.mot, "--cvat": args.cvat, "--coco": args.coco}
    files = {name: path for name, path in asked.items() if path and path != "-" and "://" not in path}

    def boxes_of(target: int) -> str:
        """Return where a target's boxes go, once that is known to harm no other file."""
        path = str(args.boxes)
        if target > 1:
            path = str(Path(path).with_name(f"{Path(path).stem}-{target}{Path(path).suffix}"))
        files[f"--boxes of target {target}"] = path
        check_outputs(files, inputs)
        return path

    check_outputs(files, inputs)
    texts = {target: boxes_of(target) for target in range(1, max(len(given), 1) + 1)} if args.boxes else {}
    picture_path = args.out
    if not any((*asked.values(), args.boxes, args.mavlink, args.show, args.no_save)):
        picture_path = _free_name(args.source)
    if args.show or not given:
        check_display("--show" if args.show else "drawing the target's box (without --box)")

    options = {"weights": args.weights, "device": args.device, "engine": args.engine}
    wanted = {key: value for key, value in options.items() if value not in (None, "auto")}
    session = Session(tracker_factory(args.model, **wanted))
    summary = _Summary()
    sinks: list[Any] = []
    try:
        with ExitStack() as stack:
            source = stack.enter_context(open_source(args.source, args.start, args.frames, args.live or None))
            size = source.info.width, source.info.height
            boxes = [check_box(box, size) for box in given]

            def opened(sink: Any) -> Any:
                sinks.append(stack.enter_context(sink))
                sink.whole = source.info.live  # a stream has no end but that of the run
                return sink

            picture = opened(open_picture_sink(picture_path, size, source.info.fps)) if picture_path else None
            tables = [opened(BoxSink(path, target)) for target, path in texts.items()]
            formats: list[tuple[str | None, Any]] = [
                (args.jsonl, open_jsonl),
                (args.mot, MotSink),
                (args.cvat, partial(CvatSink, size=size)),
                (args.coco, partial(CocoSink, size=size, name_of=source.name_of)),
                (args.mavlink, partial(MavlinkSink, size=size)),
            ]
            tables += [opened(kind(place)) for place, kind in formats if place]
            overlay = Overlay(Path(args.model).stem)
            window = operator = None
            if args.show or not boxes:
                window = stack.enter_context(Window("tctrack"))
            bar = stack.enter_context(tqdm(total=source.info.frames, unit="frame", disable=None))
            going_on = True
            for frame in source:
                while boxes:
                    session.add(frame, boxes.pop(0))
                if window and operator is None:
                    operator = Operator(window, session, source, overlay)
                records = session.step(frame, source.number, source.time)
                if operator:
                    going_on = operator.attend(frame, summary.fps)
                    records = session.step(frame, source.number, source.time)
                for target in [record.id for record in records if args.boxes and record.id not in texts]:
                    texts[target] = boxes_of(target)  # it was drawn while others were tracked
                    tables.append(opened(BoxSink(texts[target], target)))
                    for _ in range(summary.frames):
                        tables[-1].write(())
                if summary.frames or records:  # not before the first target is drawn
                    summary.add(records, source.number)
                    for table in tables:
                        table.write(records)
                    summary.behind = max(summary.behind, source.behind)
                    if picture:
                        picture.write(overlay.draw(frame, records, summary.fps), source.time)
                    if window and not args.show:
                        window.close()
                        operator = window = None
                bar.set_postfix_str(f"tracker {summary.fps or 0:.0f} FPS", refresh=False)
                bar.update()
                if not going_on:
                    break
            else:
                for sink in sinks:
                    sink.whole = True
            if not summary.frames:
                raise BoxError("no box was drawn")
    finally:
        if summary.frames:
            written = [f"{sink.published}{sink.note and f' ({sink.note})'}" for sink in sinks if sink.published]
            text = f"{summary.text(source.dropped)}; wrote {', '.join(written) or 'no files'}"
            print(text, file=sys.stderr if args.jsonl == "-" else sys.stdout)
    return 0


class _Summary:
    """What a run came to. The first frame of a run only starts the trackers, so it has no part in the speed."""

    def __init__(self) -> None:
        self.frames = 0
        self.behind = 0
        self.fps: float | None = None
        self._seconds: list[float] = []
        self._mean = 0.0
        self._scores: dict[int, list[float]] = {}
        self._lost: dict[int, list[list[int]]] = {}
        self._last = -1

    def add(self, records: Sequence[Record], number: int) -> None:
        """Count a frame by its records and its number in the source."""
        if self.frames and records:
            seconds = records[0].seconds
            self._seconds.append(seconds)
            self._mean += (seconds - self._mean) * max(SMOOTHING, 1 / len(self._seconds))
            self.fps = 1 / max(self._mean, 1e-6)
        for record in records:
            scores, lost = self._scores.setdefault(record.id, []), self._lost.setdefault(record.id, [])
            if record.score is not None:
                scores.append(record.score)
            if record.state == "lost" and lost and lost[-1][1] == self._last:
                lost[-1][1] = number
            elif record.state == "lost":
                lost.append([number, number])
        self._last = number
        self.frames += 1

    def text(self, dropped: int) -> str:
        """Return the line that is printed at the end."""
        import numpy as np

        parts = [f"{self.frames} frames"]
        if dropped:
            parts.append(f"{dropped} dropped")
        if self.behind:
            parts.append(f"at most {self.behind} behind")
        if self._seconds:
            median, slow = 1 / np.maximum(np.percentile(self._seconds, [50, 95]), 1e-6)
            parts.append(f"tracked at {median:.1f} FPS (median; p95 {slow:.1f})")
        for target, scores in self._scores.items():
            words = [f"score {min(scores):.2f}–{max(scores):.2f}"] if scores else []
            if ranges := self._lost[target]:
                words.append("lost in frames " + ", ".join(f"{a}–{b}" if b > a else f"{a}" for a, b in ranges))
            if words:
                parts.append(f"target {target}: " * (len(self._scores) > 1) + ", ".join(words))
        return ", ".join(parts)


def _box_lines(text: str) -> list[str]:
    """Return the boxes that an argument names: itself, or the lines of the file that it is."""
    if not Path(text).is_file():
        return [text]
    lines = read_text(Path(text)).split()
    if not lines:
        raise BoxError(f"--box {text}: the file holds no boxes; write one x,y,w,h a line")
    return lines


def _free_name(source: str) -> str:
    """Return the name of an annotated video of a source in the current folder that is not taken."""
    if "://" in source:
        parts = urlsplit(source)
        source = Path(parts.path).name or parts.hostname or "stream"
    stem = {"-": "stdin"}.get(source, f"camera-{source}" if source.isdecimal() else Path(source).resolve().stem)
    stem = f"{stem.replace('%', '')}.tracked"
    names = (f"{stem}{number}.mp4" for number in ("", *(f"-{count}" for count in range(2, 10_000))))
    return next(name for name in names if not Path(name).exists())
