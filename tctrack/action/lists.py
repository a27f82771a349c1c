"""List files of the action benchmarks: which video, or part of one, shows which classes."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tctrack.errors import DatasetError, suggest
from tctrack.files import read_json, read_text


class Example(NamedTuple):
    """A labelled video or part of one.

    ``labels`` has one class per label, in Epic-Kitchens the verb's and the noun's; ``start`` and ``stop`` are in
    seconds, ``stop`` None for the video's end.
    """

    path: Path
    labels: tuple[int, ...]
    start: float = 0.0
    stop: float | None = None


def read_list(path: str | Path, root: str | Path | None = None, kind: str = "kinetics") -> list[Example]:
    """Read a list file.

    Args:
        path: the list. ``kinetics``: lines ``video label`` or ``video,label`` with class numbers, or the official .csv
            (its classes are numbered by name). ``ssv2``: the official .json, with ``labels.json`` beside it.
            ``epic``: the official .csv of Epic-Kitchens-100.
        root: folder of the videos; None for the list's own.
        kind: one of :data:`KINDS`.

    Raises:
        DatasetError: the list is missing, malformed or empty.
    """
    path = Path(path)
    if kind not in KINDS:
        raise DatasetError(f"unknown kind of list '{kind}'{suggest(kind, KINDS)}")
    text = read_text(path)
    try:
        examples = KINDS[kind](text, path, Path(root) if root is not None else path.parent)
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise DatasetError(f"list '{path}' is not of the kind '{kind}' ({type(error).__name__}: {error})") from None
    if not examples:
        raise DatasetError(f"list '{path}' names no video")
    return examples


def read_names(path: Path) -> list[str]:
    """Read names of classes, one a line.

    Raises:
        DatasetError: the file cannot be read.
    """
    return [line.strip() for line in read_text(path).splitlines() if line.strip()]


def _kinetics(text: str, _: Path, root: Path) -> list[Example]:
    lines = [line for line in text.splitlines() if line.strip()]
    if lines and "youtube_id" in lines[0].split(","):
        rows = list(csv.DictReader(lines))
        classes = {name: number for number, name in enumerate(sorted({row["label"] for row in rows}))}
        return [
            Example(
                root / f"{row['youtube_id']}_{int(row['time_start']):06d}_{int(row['time_end']):06d}.mp4",
                (classes[row["label"]],),
            )
            for row in rows
        ]
    examples = []
    for line in lines:
        name, label = line.rsplit("," if "," in line else None, 1)
        examples.append(Example(root / name.strip(), (int(label),)))
    return examples


def _ssv2(_: str, path: Path, root: Path) -> list[Example]:
    beside = path.with_name("labels.json")
    if not beside.is_file():
        raise DatasetError(f"no '{beside}'; Something-Something's class numbers are read from there")
    classes: dict[str, Any] = read_json(beside)
    return [
        Example(root / f"{row['id']}.webm", (int(classes[row["template"].replace("[", "").replace("]", "")]),))
        for row in read_json(path)
    ]


def _epic(text: str, _: Path, root: Path) -> list[Example]:
    return [
        Example(
            root / row["participant_id"] / "videos" / f"{row['video_id']}.MP4",
            (int(row["verb_class"]), int(row["noun_class"])),
            parse_time(row["start_timestamp"]),
            parse_time(row["stop_timestamp"]),
        )
        for row in csv.DictReader(text.splitlines())
    ]


def parse_time(stamp: str) -> float:
    """Return the seconds of a time ``hh:mm:ss.ss``."""
    hours, minutes, seconds = stamp.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


#: Readers of list files: text, the list's path and the videos' folder give examples.
KINDS: dict[str, Callable[[str, Path, Path], list[Example]]] = {"kinetics": _kinetics, "ssv2": _ssv2, "epic": _epic}
