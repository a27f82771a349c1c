"""What the page can download: the annotated video, and the tracks as JSON lines, CSV and MOT Challenge."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

from tctrack.errors import SourceError
from tctrack.serve.footage import Footage
from tctrack.video import CsvSink, JsonlSink, MotSink, Overlay, Record, VideoSink

_TABLES: dict[str, type[JsonlSink | CsvSink | MotSink]] = {
    "track.jsonl": JsonlSink,
    "track.csv": CsvSink,
    "track.txt": MotSink,
}
#: Names of the files that can be asked for; .txt is MOT Challenge's.
NAMES = ("track.mp4", *_TABLES)


def export(path: Path, footage: Footage, records: Sequence[Record]) -> None:
    """Write what was tracked, in the format that the file's name stands for.

    Args:
        path: the file, whose name is one of ``NAMES``.
        footage: the frames.
        records: by frame, at least one.

    Raises:
        SourceError: a frame cannot be read, or there is nothing to write.
        OutputError: the file cannot be written.
    """
    frames = {number: list(found) for number, found in itertools.groupby(records, key=lambda record: record.frame)}
    if path.name in _TABLES:
        with _TABLES[path.name](path) as table:
            for found in frames.values():
                table.write(found)
        if not table.published:
            raise SourceError("there is nothing to write: the target is lost in every frame")
        return
    overlay = Overlay()
    with VideoSink(path, (footage.info.width, footage.info.height), footage.info.fps) as video:
        for shot in footage.between(records[0].frame, records[-1].frame):
            video.write(overlay.draw(shot.frame, frames.get(shot.index, [])), shot.time)
