"""Random search of a tracker's penalty, window and rate on a training or validation split."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tctrack.benchmark.metrics import mean_scores
from tctrack.benchmark.run import Launcher, TrackerFactory, score_trackers
from tctrack.benchmark.sequences import BenchmarkSequence
from tctrack.errors import DatasetError
from tctrack.files import read_json, write_text

#: Ranges that are searched, uniformly.
RANGES = {"penalty_k": (0.0, 0.3), "window_influence": (0.1, 0.6), "lr": (0.2, 0.8)}

WARNING = (
    "Settings chosen on sequences say nothing about these sequences: a score on a set that was tuned on is not a "
    "result. Choose on a training or validation split, then test once with the same setting on every benchmark."
)


class Trial(NamedTuple):
    """Options that were tried, empty for the tracker's own, and their mean scores under ``otb``."""

    options: dict[str, float]
    success_auc: float
    precision_20: float


def propose(trials: int, seed: int = 0) -> list[dict[str, float]]:
    """Return the tracker's own setting (no options) and random ones; the same for the same seed."""
    generator = np.random.default_rng(seed)
    drawn = [
        {name: round(float(generator.uniform(low, high)), 3) for name, (low, high) in RANGES.items()}
        for _ in range(trials - 1)
    ]
    return [{}, *drawn]


def search(
    build: Callable[[dict[str, float]], TrackerFactory],
    sequences: Sequence[BenchmarkSequence],
    proposals: Sequence[dict[str, float]],
    launch: Launcher,
    known: Sequence[Trial] = (),
) -> Iterator[Trial]:
    """Try proposals one after another and yield each; those among ``known`` are not run again.

    Args:
        build: returns a tracker's factory for options.
        sequences: what to score on.
        proposals: options to try.
        launch: where to run.
        known: trials of an earlier search over the same sequences.
    """
    for options in proposals:
        done = next((trial for trial in known if trial.options == options), None)
        if done is None:
            scores = score_trackers({"tuned": build(options)}, sequences, launch)["tuned"]
            mean = mean_scores(scores.values())
            done = Trial(options, mean.success_auc, mean.precision_20)
        yield done


def save_trials(path: Path, about: dict[str, Any], trials: Sequence[Trial]) -> None:
    """Write what was searched, all trials, the best of them, and the warning, as JSON.

    Raises:
        OutputError: the file cannot be written.
    """
    best = max(trials, key=lambda trial: trial.success_auc)
    content = {"warning": WARNING, **about, "best": best._asdict(), "trials": [trial._asdict() for trial in trials]}
    write_text(path, json.dumps(content, indent=1) + "\n")


def load_trials(path: Path, about: dict[str, Any]) -> list[Trial]:
    """Read the trials of an earlier search, if there is one.

    Raises:
        DatasetError: the file is damaged, or comes from another search.
    """
    if not path.is_file():
        return []
    try:
        content = read_json(path)
        trials = [Trial(**trial) for trial in content["trials"]]
        different = [key for key, value in about.items() if content[key] != value]
    except (ValueError, TypeError, KeyError):
        raise DatasetError(f"{path} is not a file of trials; choose another --out") from None
    if different:
        raise DatasetError(f"{path} comes from a search with another {different[0]}; choose another --out")
    return trials
