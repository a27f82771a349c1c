"""What the page can download: the annotated video, and the tracks as JSON lines, CSV and MOT Challenge."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

from tctrack.errors import require
from tctrack.serve.footage import Footage
from tctrack.types import Frame
from tctrack.video import Record, draw_box
from tctrack.video.overlay import GREEN, RED, Colour

#: BGR, of the targets by turns.
COLOURS: tuple[Colour, ...] = (GREEN, (255, 176, 64), (240, 110, 230), (70, 210, 255), (235, 235, 90), (150, 160, 255))
#: Of a video's time stamps, in a second.
_TICKS = 90_000


def to_jsonl(records: Sequence[Record]) -> str:
    """Return one JSON object a line, as of :meth:`tctrack.video.Record.as_json`."""
    return "".join(json.dumps(record.as_json()) + "\n" for record in records)


def to_csv(records: Sequence[Record]) -> str:
    """Return a table with a head."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["frame", "time", "wall", "id", "x", "y", "w", "h", "score", "confidence", "state"])
    for record in records:
        cells = record.as_json()
        first, last = ("frame", "time", "wall", "id"), ("score", "confidence", "state")
        table.writerow([*(cells[key] for key in first), *cells["box"], *(cells[key] for key in last)])
    return text.getvalue()


def to_mot(records: Sequence[Record]) -> str:
    """Return MOT Challenge's lines ``frame,id,x,y,w,h,confidence,-1,-1,-1``; frames count from 1."""
    lines = []
    for record in records:
        sure = next((value for value in (record.confidence, record.score) if value is not None), 1)
        box = ",".join(f"{value:.2f}" for value in record.box)
        lines.append(f"{record.frame + 1},{record.id},{box},{sure:.4f},-1,-1,-1\n")
    return "".join(lines)


#: Files of text, by name.
TEXTS: dict[str, Callable[[Sequence[Record]], str]] = {
    "track.jsonl": to_jsonl,
    "track.csv": to_csv,
    "track.txt": to_mot,
}


def write_video(path: Path, footage: Footage, records: Sequence[Record]) -> None:
    """Write the tracked stretch with its boxes as H.264, with the source's own timing.

    Raises:
        SourceError: a frame cannot be read.
        DependencyError: PyAV is not installed.
    """
    av = require("av", "serve")
    found = {frame: list(group) for frame, group in itertools.groupby(records, key=lambda record: record.frame)}
    width, height = footage.info.width // 2 * 2, footage.info.height // 2 * 2
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", options={"preset": "veryfast", "crf": "21"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, _TICKS)
        start: float | None = None
        for shot in footage.between(records[0].frame, records[-1].frame):
            start = shot.time if start is None else start
            picture = av.VideoFrame.from_ndarray(
                _draw(shot.frame[:height, :width], found.get(shot.index, [])), format="bgr24"
            )
            picture.pts, picture.time_base = round((shot.time - start) * _TICKS), Fraction(1, _TICKS)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def _draw(frame: Frame, records: Sequence[Record]) -> Frame:
    picture: Frame = frame.copy()
    for record in records:
        seen = record.state == "tracked"
        label = str(record.id) if seen else f"{record.id} {record.state}"
        colour = COLOURS[(record.id - 1) % len(COLOURS)] if seen else RED
        draw_box(picture, record.box, label, colour, dashed=not seen)
    return picture
