"""Score the result files of trackers on a benchmark, and write the numbers as text, JSON, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from tctrack.benchmark.catalogue import Found
from tctrack.benchmark.metrics import BoxScores, Protocol, bootstrap_interval, mean_scores, paired_test, score
from tctrack.benchmark.results import Run, find_runs, read_run
from tctrack.benchmark.sequences import BenchmarkSequence
from tctrack.errors import DatasetError

#: Key, column title and value of the metrics that every table shows.
METRICS: dict[str, tuple[str, Callable[[BoxScores], float]]] = {
    "success_auc": ("Success AUC", lambda scores: scores.success_auc),
    "precision_20": ("Precision@20", lambda scores: scores.precision_20),
    "norm_precision_20": ("Norm. precision@0.2", lambda scores: scores.norm_precision_20),
    "norm_precision_auc": ("Norm. precision AUC", lambda scores: scores.norm_precision_auc),
}

#: Sequences without which there is neither an interval nor a test.
ENOUGH = 2

#: GOT-10k's metrics, which are defined under its protocol only.
GOT10K_METRICS: dict[str, tuple[str, Callable[[BoxScores], float]]] = {
    "ao": ("AO", lambda scores: scores.ao),
    "sr_50": ("SR@0.5", lambda scores: scores.sr(0.5)),
    "sr_75": ("SR@0.75", lambda scores: scores.sr(0.75)),
}


@dataclass(frozen=True)
class TrackerScores:
    """One tracker's scores on each sequence, and its mean speed in frames a second where times are known."""

    name: str
    sequences: dict[str, BoxScores]
    fps: float | None

    def mean(self, names: Iterable[str] | None = None) -> BoxScores:
        """Average over all or some sequences."""
        return mean_scores(self.sequences[name] for name in (self.sequences if names is None else names))

    def values(self, metric: str) -> list[float]:
        """Return a metric's value on each sequence."""
        return [METRICS[metric][1](scores) for scores in self.sequences.values()]

    def interval(self, metric: str) -> tuple[float, float] | None:
        """Return the 95 % bootstrap interval over sequences of a metric's mean; None for fewer than :data:`ENOUGH`."""
        values = self.values(metric)
        return bootstrap_interval(values) if len(values) >= ENOUGH else None


@dataclass(frozen=True)
class Evaluation:
    """Trackers on a benchmark under one protocol, the best success AUC first."""

    dataset: str
    protocol: Protocol
    sequences: tuple[BenchmarkSequence, ...]
    total: int
    attributes: dict[str, str]
    trackers: tuple[TrackerScores, ...]

    @property
    def title(self) -> str:
        """Data set, protocol, and how many of its sequences were scored."""
        return f"{self.dataset}, protocol {self.protocol}, {len(self.sequences)} of {self.total} sequences"

    @property
    def metrics(self) -> dict[str, tuple[str, Callable[[BoxScores], float]]]:
        """The metrics that the protocol defines."""
        return METRICS | (GOT10K_METRICS if self.protocol == "got10k" else {})

    def best(self) -> dict[str, float]:
        """Return the highest mean of each metric."""
        means = [tracker.mean() for tracker in self.trackers]
        return {key: max(value(mean) for mean in means) for key, (_, value) in self.metrics.items()}

    def with_attribute(self, attribute: str) -> list[str]:
        """Return the names of the sequences that have an attribute."""
        return [sequence.name for sequence in self.sequences if attribute in sequence.attributes]

    def present_attributes(self) -> list[str]:
        """Return the attributes that at least one sequence has."""
        return [name for name in self.attributes if self.with_attribute(name)]

    def comparisons(self) -> list[tuple[str, str, float, float]]:
        """Return for each pair of trackers the difference of success AUC and its p-value.

        There is none for fewer than :data:`ENOUGH` sequences, which are too few for a test.
        """
        if len(self.sequences) < ENOUGH:
            return []
        pairs = combinations(self.trackers, 2)
        values = [(a.name, b.name, a.values("success_auc"), b.values("success_auc")) for a, b in pairs]
        return [(a, b, float(np.mean(x) - np.mean(y)), paired_test(x, y)) for a, b, x, y in values]


def evaluate(
    found: Found, results: Path, trackers: Sequence[str], protocol: Protocol, partial: bool = False
) -> Evaluation:
    """Score trackers' result files in ``results/DATASET/TRACKER``.

    Args:
        found: the sequences to score.
        results: the root of the result files.
        trackers: names of the trackers' folders.
        protocol: how frames are counted.
        partial: score the sequences that every tracker has; otherwise a missing one is an error.

    Raises:
        DatasetError: a result is missing or malformed, or the benchmark's truth is withheld.
    """
    benchmark = found.benchmark
    if benchmark.withheld:
        raise DatasetError(f"the truth of {benchmark.name} is withheld; submit the results at {benchmark.source}")
    folders = {name: results / benchmark.name / name for name in trackers}
    sequences = []
    for sequence in found.sequences:
        without = [name for name, folder in folders.items() if not find_runs(folder, sequence.name, found.present)]
        if without and not partial:
            raise DatasetError(
                f"{folders[without[0]]} has no result for '{sequence.name}'; run it, choose --sequences, "
                "or score with --partial what every tracker has"
            )
        if not without:
            sequences.append(sequence)
    if not sequences:
        raise DatasetError(f"no sequence of {benchmark.name} has results of all of: {', '.join(trackers)}")
    scored = [_score_tracker(found, folder, sequences, protocol) for folder in folders.values()]
    scored.sort(key=lambda tracker: -tracker.mean().success_auc)
    total = len(found.sequences) + len(found.missing)
    return Evaluation(
        benchmark.name,
        protocol,
        tuple(sequences),
        max(total, len(benchmark.sequences)),
        benchmark.attributes,
        tuple(scored),
    )


def mean_fps(runs: Iterable[Run]) -> float | None:
    """Return the mean over runs of the mean of each frame's rate, as got10k counts speed; None without times."""
    kept = [run.seconds[run.seconds > 0] for run in runs if run.seconds is not None]
    rates = [float((1 / seconds).mean()) for seconds in kept if seconds.size]
    return float(np.mean(rates)) if rates else None


def format_table(evaluation: Evaluation) -> str:
    """Return a table of the trackers' means with 95 % intervals, and the paired tests."""
    lines = [evaluation.title, ""]
    width = max(len("Tracker"), *(len(tracker.name) for tracker in evaluation.trackers))
    titles = [title for title, _ in evaluation.metrics.values()]
    lines.append("  ".join([f"{'Tracker':{width}}", f"{'FPS':>7}", f"{'95 % of AUC':>13}", *titles]))
    for tracker in evaluation.trackers:
        mean = tracker.mean()
        cells = [f"{value(mean):{len(title)}.3f}" for title, value in evaluation.metrics.values()]
        fps = f"{tracker.fps:7.1f}" if tracker.fps else f"{'-':>7}"
        lines.append("  ".join([f"{tracker.name:{width}}", fps, format_interval(tracker).rjust(13), *cells]))
    pairs = [f"{a} − {b}: {gap:+.3f} success AUC, p = {p:.4f}" for a, b, gap, p in evaluation.comparisons()]
    if len(evaluation.trackers) > 1:
        head = f"Paired sign-flip test over sequences, protocol {evaluation.protocol}:"
        lines += ["", head, *(pairs or ["too few sequences"])]
    return "\n".join(lines)


def format_interval(tracker: TrackerScores) -> str:
    """Return the 95 % interval of the success AUC as text."""
    interval = tracker.interval("success_auc")
    return "too few" if interval is None else f"{interval[0]:.3f}–{interval[1]:.3f}"


def to_json(evaluation: Evaluation) -> str:
    """Return all numbers as JSON."""
    metrics = evaluation.metrics

    def numbers(scores: BoxScores) -> dict[str, Any]:
        return {key: _number(value(scores)) for key, (_, value) in metrics.items()}

    trackers = {}
    for tracker in evaluation.trackers:
        mean = tracker.mean()
        trackers[tracker.name] = {
            **numbers(mean),
            "fps": tracker.fps,
            "intervals_95": {key: tracker.interval(key) for key in METRICS},
            "curves": {
                "success": mean.success.tolist(),
                "precision": mean.precision.tolist(),
                "norm_precision": mean.norm_precision.tolist(),
            },
            "sequences": {name: numbers(scores) for name, scores in tracker.sequences.items()},
            "attributes": {
                name: {**numbers(tracker.mean(chosen)), "sequences": len(chosen)}
                for name in evaluation.present_attributes()
                if (chosen := evaluation.with_attribute(name))
            },
        }
    content = {
        "protocol": evaluation.protocol,
        "dataset": evaluation.dataset,
        "scored_sequences": len(evaluation.sequences),
        "total_sequences": evaluation.total,
        "attribute_names": evaluation.attributes,
        "trackers": trackers,
        "comparisons": [
            {"first": a, "second": b, "success_auc_difference": gap, "p_value": p}
            for a, b, gap, p in evaluation.comparisons()
        ],
    }
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def to_csv(evaluation: Evaluation) -> str:
    """Return a line for each tracker's mean, attributes and sequences."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["dataset", "protocol", "tracker", "kind", "name", *evaluation.metrics, "fps"])
    for tracker in evaluation.trackers:
        rows = [("mean", "all", tracker.mean(), tracker.fps)]
        rows += [
            ("attribute", name, tracker.mean(evaluation.with_attribute(name)), None)
            for name in evaluation.present_attributes()
        ]
        rows += [("sequence", name, scores, None) for name, scores in tracker.sequences.items()]
        for kind, name, scores, fps in rows:
            numbers = [f"{value(scores):.6f}" for _, value in evaluation.metrics.values()]
            speed = "" if fps is None else f"{fps:.2f}"
            writer.writerow([evaluation.dataset, evaluation.protocol, tracker.name, kind, name, *numbers, speed])
    return text.getvalue()


def to_latex(evaluation: Evaluation) -> str:
    """Return the trackers' means as a LaTeX table (booktabs), the best of each column in bold."""
    best = evaluation.best()
    titles = " & ".join(title for title, _ in evaluation.metrics.values())
    lines = [
        f"% {evaluation.title}",
        f"\\begin{{tabular}}{{l{'c' * len(best)}r}}",
        "\\toprule",
        f"Tracker & {titles} & FPS \\\\",
        "\\midrule",
    ]
    for tracker in evaluation.trackers:
        cells, mean = [], tracker.mean()
        for key, (_, value) in evaluation.metrics.items():
            number = f"{value(mean):.3f}"
            cells.append(f"\\textbf{{{number}}}" if value(mean) == best[key] else number)
        speed = f"{tracker.fps:.1f}" if tracker.fps else "--"
        lines.append(" & ".join([tracker.name.replace("_", "\\_"), *cells, speed]) + " \\\\")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}"]) + "\n"


def _score_tracker(
    found: Found, folder: Path, sequences: Sequence[BenchmarkSequence], protocol: Protocol
) -> TrackerScores:
    scores, all_runs = {}, []
    for sequence in sequences:
        runs = [read_run(path, len(sequence)) for path in find_runs(folder, sequence.name, found.present)]
        scores[sequence.name] = mean_scores(
            score(sequence.boxes, run.boxes, protocol, sequence.frame_size) for run in runs
        )
        all_runs += runs
    return TrackerScores(folder.name, scores, mean_fps(all_runs))


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None
