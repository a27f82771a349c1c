"""Validation of a network in training: it tracks sequences, and the weights that track best are kept.

Scores on a set that selects the weights are biased: validate on none that is tested on.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from tctrack.benchmark.catalogue import load_benchmark
from tctrack.benchmark.metrics import BoxScores, mean_scores
from tctrack.benchmark.run import in_process, score_trackers
from tctrack.benchmark.sequences import BenchmarkSequence
from tctrack.config import Count
from tctrack.models.base import TrackingModel
from tctrack.types import OnlineTracker

#: Turns a network into a tracker.
TrackerBuilder = Callable[[TrackingModel], OnlineTracker]


@dataclass(frozen=True)
class SetConfig:
    """Sequences to track, named as for ``tctrack test``."""

    dataset: str
    root: Path
    sequences: tuple[str, ...] = ()
    """Names of the sequences; all unless set."""


@dataclass(frozen=True)
class ValidationConfig:
    """When to validate and on what."""

    sets: tuple[SetConfig, ...]
    every: Count = 1000
    """Steps between validations; the last step is always validated."""


def find_sequences(config: ValidationConfig) -> list[BenchmarkSequence]:
    """Find all sequences to validate on.

    Raises:
        ConfigError: there is no such data set or sequence.
        DatasetError: a set is not under its root, or a file is malformed.
    """
    return [
        sequence
        for each in config.sets
        for sequence in load_benchmark(each.dataset, each.root, each.sequences).sequences
    ]


def validate(model: TrackingModel, sequences: Sequence[BenchmarkSequence], build_tracker: TrackerBuilder) -> BoxScores:
    """Track sequences with a network in evaluation mode; return the mean scores (protocol ``otb``)."""
    factory = functools.partial(build_tracker, model)
    launch = functools.partial(in_process, threads=torch.get_num_threads())
    return mean_scores(score_trackers({"validation": factory}, sequences, launch)["validation"].values())
