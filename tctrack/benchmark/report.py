"""One HTML page about an evaluation: tables, plots, a heat map and pictures, self-contained."""

from __future__ import annotations

import base64
import importlib.resources
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from string import Template

import numpy as np

from tctrack import __version__
from tctrack.benchmark.evaluation import Evaluation, TrackerScores, format_interval
from tctrack.benchmark.plots import (
    TRUTH_COLOUR,
    bgr,
    plot_attributes,
    plot_norm_precision,
    plot_precision,
    plot_success,
    tracker_colour,
)
from tctrack.benchmark.results import find_runs, read_run
from tctrack.benchmark.sequences import BenchmarkSequence
from tctrack.geometry.boxes import iou
from tctrack.types import Box, FloatArray, Frame

#: Sequences and frames of each on the contact sheets.
WORST, FRAMES = 4, 8
_TILE = (420, 236)

_PROTOCOLS = {
    "otb": "every frame counts; an absent target is a miss for success, a hit for precision (OTB and pysot toolkits)",
    "got10k": "frames without a target are dropped and the first box is taken as given (got10k toolkit)",
}


def render_html(evaluation: Evaluation, results: Path) -> str:
    """Return the page; contact sheets are left out for sequences without frames.

    Raises:
        DependencyError: matplotlib is not installed.
        DatasetError: a frame or result cannot be read.
    """
    template = importlib.resources.files("tctrack.benchmark").joinpath("report.html").read_text(encoding="utf-8")
    plots = (plot_success(evaluation), plot_precision(evaluation), plot_norm_precision(evaluation))
    return Template(template).substitute(
        title=escape(evaluation.dataset),
        protocol=escape(evaluation.protocol),
        rule=escape(_PROTOCOLS[evaluation.protocol]),
        count=len(evaluation.sequences),
        total=evaluation.total,
        frames=sum(map(len, evaluation.sequences)),
        version=escape(__version__),
        summary=_summary(evaluation),
        comparisons=_comparisons(evaluation),
        plots="".join(f"<figure>{plot}</figure>" for plot in plots),
        attributes=_attributes(evaluation),
        heat_map=_heat_map(evaluation),
        worst=_worst(evaluation, results),
    )


def _summary(evaluation: Evaluation) -> str:
    best = evaluation.best()
    head = ["Tracker", *(title for title, _ in evaluation.metrics.values()), "95 % of success AUC", "FPS"]
    rows = []
    for rank, tracker in enumerate(evaluation.trackers):
        cells, mean = [_key(rank, tracker.name)], tracker.mean()
        for key, (_, value) in evaluation.metrics.items():
            number = f"{value(mean):.3f}"
            cells.append(f"<b>{number}</b>" if value(mean) == best[key] else number)
        rows.append([*cells, format_interval(tracker), f"{tracker.fps:.1f}" if tracker.fps else "–"])
    return _table(head, rows)


def _comparisons(evaluation: Evaluation) -> str:
    pairs = evaluation.comparisons()
    if not pairs:
        return "<p class='note'>Too few sequences to compare trackers.</p>" if len(evaluation.trackers) > 1 else ""
    rows = [[f"{escape(a)} − {escape(b)}", f"{gap:+.3f}", f"{p:.4f}"] for a, b, gap, p in pairs]
    table = _table(["Pair", f"Success AUC ({evaluation.protocol})", "p"], rows)
    note = "Two-sided sign-flip test of the mean difference over the same sequences."
    return f"<details><summary>Paired tests ({len(rows)})</summary><p class='note'>{note}</p>{table}</details>"


def _attributes(evaluation: Evaluation) -> str:
    names = evaluation.present_attributes()
    if not names:
        return "<p class='note'>This benchmark names no attributes for these sequences.</p>"
    rows = []
    for name in names:
        chosen = evaluation.with_attribute(name)
        values = [tracker.mean(chosen).success_auc for tracker in evaluation.trackers]
        best = max(values)
        cells = [f"<b>{value:.3f}</b>" if value == best else f"{value:.3f}" for value in values]
        label = f"<abbr title='{escape(evaluation.attributes[name])}'>{escape(name)}</abbr> "
        rows.append([f"{label}<small>{escape(evaluation.attributes[name])}</small>", str(len(chosen)), *cells])
    head = ["Attribute", "Sequences", *(_key(rank, t.name) for rank, t in enumerate(evaluation.trackers))]
    radar = plot_attributes(evaluation)
    figure = f"<figure>{radar}</figure>" if radar else ""
    return f"<div class='split'>{figure}<div>{_table(head, rows, escaped=True)}</div></div>"


def _heat_map(evaluation: Evaluation) -> str:
    """Return a table of success AUC by sequence and tracker, the hardest sequences first."""
    names = _hardest_first(evaluation)
    head = "".join(f"<th class='turn'><span>{escape(tracker.name)}</span></th>" for tracker in evaluation.trackers)
    columns = []
    for part in np.array_split(np.array(names, dtype=object), min(3, len(names))):
        rows = "".join(_heat_row(str(name), evaluation.trackers) for name in part)
        columns.append(f"<table class='heat'><thead><tr><th></th>{head}</tr></thead><tbody>{rows}</tbody></table>")
    return f"<div class='heat-columns'>{''.join(columns)}</div>"


def _heat_row(name: str, trackers: Iterable[TrackerScores]) -> str:
    cells = []
    for tracker in trackers:
        value = tracker.sequences[name].success_auc
        hue, light = 8 + 165 * value, 88 - 26 * abs(value - 0.5)
        cells.append(f"<td style='background:hsl({hue:.0f} 62% {light:.0f}%)'>{value:.2f}</td>")
    return f"<tr><th>{escape(name)}</th>{''.join(cells)}</tr>"


def _worst(evaluation: Evaluation, results: Path) -> str:
    by_name = {sequence.name: sequence for sequence in evaluation.sequences if sequence.source}
    names = [name for name in _hardest_first(evaluation) if name in by_name][:WORST]
    if not names:
        return "<p class='note'>No frames were given, so there are no pictures.</p>"
    keys = [f"<span class='key' style='--c:{TRUTH_COLOUR}'>ground truth</span>"]
    keys += [_key(rank, tracker.name) for rank, tracker in enumerate(evaluation.trackers)]
    sheets = [_sheet(by_name[name], evaluation, results / evaluation.dataset) for name in names]
    return f"<p class='keys'>{' '.join(keys)}</p>{''.join(sheets)}"


def _sheet(sequence: BenchmarkSequence, evaluation: Evaluation, folder: Path) -> str:
    """Return frames of a sequence, evenly spread, with the true box and every tracker's."""
    runs = [
        read_run(find_runs(folder / tracker.name, sequence.name)[0], len(sequence)).boxes
        for tracker in evaluation.trackers
    ]
    chosen = set(np.linspace(0, len(sequence) - 1, FRAMES).round().astype(int).tolist())
    tiles = []
    for index, frame in enumerate(sequence.frames()):
        if index in chosen:
            boxes = np.array([*(run[index] for run in runs), sequence.boxes[index]])
            overlaps = ", ".join(f"{value:.2f}" for value in iou(boxes[:-1], boxes[-1]))
            caption = f"frame {index + 1}, IoU {overlaps}"
            tiles.append(f"<figure><img alt='' src='{_draw(frame, boxes)}'><figcaption>{caption}</figcaption></figure>")
    scores = ", ".join(
        f"{escape(tracker.name)} {tracker.sequences[sequence.name].success_auc:.3f}" for tracker in evaluation.trackers
    )
    title = f"{escape(sequence.name)} <small>success AUC ({evaluation.protocol}): {scores}</small>"
    return f"<section class='sheet'><h3>{title}</h3><div>{''.join(tiles)}</div></section>"


def _draw(frame: Frame, boxes: FloatArray) -> str:
    """Return a JPEG data URL of the part of a frame that holds the boxes: the trackers' in order, then the true one."""
    import cv2

    from tctrack.video import draw_box

    x, y, width, height = _window(boxes[np.isfinite(boxes).all(axis=1)], (frame.shape[1], frame.shape[0]))
    picture = cv2.resize(frame[y : y + height, x : x + width], _TILE, interpolation=cv2.INTER_AREA)
    scale = np.array([_TILE[0] / width, _TILE[1] / height] * 2)
    colours = [*(tracker_colour(rank) for rank in range(len(boxes) - 1)), TRUTH_COLOUR]
    for box, colour in zip(boxes, colours, strict=True):
        if np.isfinite(box).all():
            draw_box(picture, Box(*((box - [x, y, 0, 0]) * scale).tolist()), colour=bgr(colour))
    encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 82])[1].tobytes()
    return "data:image/jpeg;base64," + base64.b64encode(encoded).decode()


def _window(boxes: FloatArray, frame_size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the part of a frame, with a tile's shape and at least a third of its width, around the boxes."""
    limit, tile = np.array(frame_size), np.array(_TILE)
    if not len(boxes):
        boxes = np.array([[0, 0, *frame_size]])
    low, high = boxes[:, :2].min(axis=0), (boxes[:, :2] + boxes[:, 2:]).max(axis=0)
    widest = float((limit / tile).min())
    factor = float(np.clip((1.5 * (high - low) / tile).max(), widest / 3, widest))
    size = np.floor(factor * tile).astype(int).clip(1)
    corner = np.clip(np.round((low + high - size) / 2).astype(int), 0, limit - size)
    return int(corner[0]), int(corner[1]), int(size[0]), int(size[1])


def _hardest_first(evaluation: Evaluation) -> list[str]:
    def mean(name: str) -> float:
        return float(np.mean([tracker.sequences[name].success_auc for tracker in evaluation.trackers]))

    return sorted((sequence.name for sequence in evaluation.sequences), key=mean)


def _key(rank: int, name: str) -> str:
    return f"<span class='key' style='--c:{tracker_colour(rank)}'>{escape(name)}</span>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], escaped: bool = False) -> str:
    titles = "".join(f"<th>{title if escaped else escape(title)}</th>" for title in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<div class='scroll'><table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>"
