"""What the page can download: the annotated video, and the tracks as JSON lines, CSV and MOT Challenge."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Sequence
from pathlib import Path

from tctrack.errors import SourceError
from tctrack.files import write_text
from tctrack.serve.footage import Footage
from tctrack.video import JsonlSink, MotSink, Overlay, Record, VideoSink

#: Names of the files that can be asked for.
NAMES = ("track.mp4", "track.jsonl", "track.csv", "track.txt")


def export(path: Path, footage: Footage, records: Sequence[Record]) -> None:
    """Write what was tracked, as the file's ending says; .txt is MOT Challenge's.

    Raises:
        SourceError: a frame cannot be read, or there is nothing to write.
        OutputError: the file cannot be written.
    """
    frames = {number: list(found) for number, found in itertools.groupby(records, key=lambda record: record.frame)}
    if path.suffix == ".csv":
        return write_text(path, _to_csv(records))
    if path.suffix == ".mp4":
        overlay = Overlay()
        with VideoSink(path, (footage.info.width, footage.info.height), footage.info.fps) as video:
            for shot in footage.between(records[0].frame, records[-1].frame):
                video.write(overlay.draw(shot.frame, frames.get(shot.index, [])), shot.time)
        return None
    with (JsonlSink if path.suffix == ".jsonl" else MotSink)(path) as table:
        for found in frames.values():
            table.write(found)
    if not table.published:
        raise SourceError("there is nothing to write: the target is lost in every frame")
    return None


def _to_csv(records: Sequence[Record]) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["frame", "time", "wall", "id", "x", "y", "w", "h", "score", "confidence", "state"])
    for record in records:
        cells = record.as_json()
        first, last = ("frame", "time", "wall", "id"), ("score", "confidence", "state")
        table.writerow([*(cells[key] for key in first), *cells["box"], *(cells[key] for key in last)])
    return text.getvalue()
