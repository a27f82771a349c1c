"""Annotations and results of temporal action localisation: ActivityNet, HACS and Epic-Kitchens-100."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any, NamedTuple

from tctrack.action.lists import parse_time
from tctrack.errors import DatasetError
from tctrack.files import read_json, read_text


class Segment(NamedTuple):
    """A labelled part of a video, in seconds; ``score`` is 1 in annotations."""

    video: str
    start: float
    stop: float
    label: str
    score: float = 1.0


#: Labels of Epic-Kitchens, each a way to name a segment.
EPIC_TASKS = ("verb", "noun", "action")


def read_annotations(path: Path, subset: str | None = None, task: str = "action") -> list[Segment]:
    """Read annotated segments.

    Args:
        path: a .json file of ActivityNet or HACS, or a .csv file of Epic-Kitchens-100.
        subset: of a .json file: ``training``, ``validation``, …; None for all.
        task: of a .csv file: one of :data:`EPIC_TASKS`.

    Raises:
        DatasetError: the file is missing, malformed, or holds no segment of the subset.
    """
    try:
        if path.suffix == ".csv":
            segments = [
                Segment(
                    row["video_id"],
                    parse_time(row["start_timestamp"]),
                    parse_time(row["stop_timestamp"]),
                    _epic_label(row["verb_class"], row["noun_class"], task),
                )
                for row in csv.DictReader(read_text(path).splitlines())
            ]
        else:
            segments = [
                Segment(video, *_span(item), str(item["label"]))
                for video, entry in read_json(path)["database"].items()
                if subset is None or entry["subset"] == subset
                for item in entry["annotations"]
            ]
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise DatasetError(f"cannot read annotations '{path}' ({type(error).__name__}: {error})") from None
    if not segments:
        raise DatasetError(f"annotations '{path}' hold no segment" + (f" of subset '{subset}'" if subset else ""))
    return segments


def read_durations(path: Path) -> dict[str, float]:
    """Read the videos' durations in seconds from a .json file of ActivityNet or HACS.

    Raises:
        DatasetError: the file is missing or malformed.
    """
    try:
        database = read_json(path)["database"]
        return {video: float(entry["duration"]) for video, entry in database.items()}
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise DatasetError(f"cannot read durations '{path}' ({type(error).__name__}: {error})") from None


def read_results(path: Path, task: str = "action") -> list[Segment]:
    """Read detected segments from a .json file of ActivityNet, HACS or Epic-Kitchens-100.

    Raises:
        DatasetError: the file is missing or malformed.
    """
    try:
        return [
            Segment(video, *_span(item), _result_label(item, task), float(item["score"]))
            for video, items in read_json(path)["results"].items()
            for item in items
        ]
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise DatasetError(f"cannot read results '{path}' ({type(error).__name__}: {error})") from None


def results_json(segments: list[Segment]) -> str:
    """Return detected segments in ActivityNet's result format."""
    results: dict[str, list[dict[str, Any]]] = {}
    for video, start, stop, label, score in segments:
        results.setdefault(video, []).append({"segment": [start, stop], "label": label, "score": score})
    return json.dumps({"version": "VERSION 1.3", "results": results, "external_data": {}})


def _span(item: dict[str, Any]) -> tuple[float, float]:
    start, stop = item["segment"]
    return float(start), float(stop)


def _epic_label(verb: object, noun: object, task: str) -> str:
    return {"verb": f"{verb}", "noun": f"{noun}", "action": f"{verb},{noun}"}[task]


def _result_label(item: dict[str, Any], task: str) -> str:
    return str(item["label"]) if "label" in item else _epic_label(item["verb"], item["noun"], task)
