"""Result files: ``DIR/DATASET/TRACKER/SEQUENCE.txt``, and times in seconds in ``times/SEQUENCE_time.txt`` beside them.

This is the layout of the OTB, pysot and got10k toolkits. A repeated run of a sequence ends in ``_002``, ``_003`` and so
on. GOT-10k's own layout, ``SEQUENCE/SEQUENCE_001.txt``, is read as well.
"""

from __future__ import annotations

import glob
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tctrack.benchmark.sequences import read_boxes, read_lines
from tctrack.errors import DatasetError, OutputError
from tctrack.files import natural_key, write_text
from tctrack.types import FloatArray


class Run(NamedTuple):
    """A tracker's boxes ``(T, 4)`` x, y, w, h on one sequence, and the seconds ``(T,)`` it took for each frame.

    Seconds are 0 for skipped frames, and None where they were not recorded.
    """

    boxes: FloatArray
    seconds: FloatArray | None


def result_path(folder: Path, sequence: str, repeat: int = 1) -> Path:
    """Return the file of boxes of one run below a tracker's folder."""
    return folder / f"{sequence}.txt" if repeat == 1 else folder / f"{sequence}_{repeat:03d}.txt"


def write_run(path: Path, run: Run) -> None:
    """Write a run's boxes and times; the boxes come last, so that a run with a file of boxes is complete.

    Raises:
        OutputError: a file cannot be written.
    """
    if run.seconds is not None:
        times = "".join(f"{value:.9f}\n" for value in run.seconds)
        write_text(_time_path(path), times)
    write_text(path, "".join(",".join(f"{value:.4f}" for value in box) + "\n" for box in run.boxes))


def read_run(path: Path, frames: int) -> Run:
    """Read one run of a sequence of ``frames`` frames.

    Raises:
        DatasetError: the file of boxes or times is malformed, or has another number of lines.
    """
    boxes = read_boxes(path)
    if len(boxes) != frames:
        raise DatasetError(f"{path} has {len(boxes)} boxes, but the sequence has {frames} frames")
    times = _time_path(path)
    if not times.is_file():
        return Run(boxes, None)
    try:
        seconds = np.array([float(line.replace(",", " ").split()[0]) for line in read_lines(times)])
    except (ValueError, IndexError):
        seconds = np.empty(0)
    # What is faster than any clock tells would be a rate beyond all numbers.
    if len(seconds) != frames or not (np.isfinite(seconds) & ((seconds == 0) | (seconds >= 1e-9))).all():
        raise DatasetError(f"{times} must have a number of seconds, from 0 on, for each of {frames} frames; remove it")
    return Run(boxes, seconds)


def claim_folder(folder: Path, identity: Mapping[str, Any]) -> None:
    """Say in a tracker's folder, in ``run.json``, whose results it holds, or hold them to what it says.

    Raises:
        OutputError: its results are of another run, or do not say of which; or it cannot be written.
    """
    path, given = folder / "run.json", json.loads(json.dumps(identity))
    if not any(folder.glob("*.txt")):
        write_text(path, json.dumps(given, indent=1) + "\n")
        return
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        other = [f"{key} was {known.get(key)}, is {value}" for key, value in given.items() if known.get(key) != value]
    except (OSError, ValueError, AttributeError):
        other = ["they do not say of which"]
    if other:
        why = "; ".join(other)
        raise OutputError(f"the results in '{folder}' are of another run: {why}; choose another --results or label=")


def find_runs(folder: Path, sequence: str, others: Collection[str] = ()) -> list[Path]:
    """Return the files of all runs of a sequence below a tracker's folder.

    ``others`` are the set's sequences: the file of one that is named like a repeat is left out.
    """
    first = result_path(folder, sequence)
    pattern = f"{glob.escape(sequence)}_[0-9][0-9][0-9].txt"
    repeats = [path for path in sorted(folder.glob(pattern)) if path.stem not in others]
    nested = sorted((folder / sequence).glob(pattern))
    return [*([first] if first.is_file() else []), *repeats, *nested]


def find_trackers(results: Path, dataset: str) -> list[str]:
    """Return the names of the trackers that have results for a dataset.

    Raises:
        DatasetError: there is none.
    """
    folder = results / dataset
    names = {
        path.relative_to(folder).parts[0]
        for pattern in ("*/*.txt", "*/*/*_001.txt")
        for path in folder.glob(pattern)
        if path.parent.name != "errors"
    }
    if not names:
        raise DatasetError(f"no tracker's results in {folder}; expected {folder / 'TRACKER' / 'SEQUENCE.txt'}")
    return sorted(names, key=natural_key)


def _time_path(path: Path) -> Path:
    return path.parent / "times" / f"{path.stem}_time.txt"
