from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tctrack.benchmark.catalogue import load_benchmark
from tctrack.benchmark.run import (
    RealTime,
    failures,
    in_process,
    in_processes,
    on_ray,
    plan,
    run_jobs,
    score_trackers,
)
from tctrack.errors import OutputError
from tctrack.types import Box, Frame, OnlineTracker, TrackResult


class Shaky:
    """Moves at random, so that a run repeats only if its seed does; fails where it is told to."""

    def __init__(self, fails_at: int = -1) -> None:
        self._fails_at = fails_at

    def init(self, frame: Frame, box: Sequence[float]) -> None:
        self._box, self._count = np.array(box), 0

    def update(self, frame: Frame) -> TrackResult:
        self._count += 1
        if self._count == self._fails_at:
            raise ValueError("lost my way")
        self._box = self._box + np.random.normal(size=4)  # noqa: NPY002
        return TrackResult(Box(*self._box))


def static() -> OnlineTracker:
    from trackers import build_tracker

    return build_tracker("static")


def contents(folder: Path) -> dict[str, str]:
    """Text of all files of boxes below a folder."""
    files = [path for path in folder.rglob("*.txt") if path.parent.name not in ("times", "errors")]
    return {str(path.relative_to(folder)): path.read_text() for path in files}


def test_results_are_complete_and_repeatable(dtb70: Path, tmp_path: Path) -> None:
    found = load_benchmark("DTB70", dtb70)

    for folder in ("one", "two"):
        jobs = plan(tmp_path / folder, {"Shaky": Shaky}, found.sequences, repeats=2)
        assert not failures(run_jobs(jobs, in_process))

    one = contents(tmp_path / "one")
    assert one == contents(tmp_path / "two")
    assert set(one) == {f"Shaky/{name}{end}.txt" for name in ("Animal1", "Car6", "Yacht4") for end in ("", "_002")}
    assert one["Shaky/Car6.txt"] != one["Shaky/Car6_002.txt"]
    assert one["Shaky/Car6.txt"].startswith("10.0000,12.0000,16.0000,12.0000\n")
    assert one["Shaky/Car6.txt"].count("\n") == 6


def test_order_of_sequences_changes_nothing(dtb70: Path, tmp_path: Path) -> None:
    sequences = load_benchmark("DTB70", dtb70).sequences

    for folder, order in (("one", sequences), ("two", sequences[::-1])):
        list(run_jobs(plan(tmp_path / folder, {"Shaky": Shaky}, order), in_process))

    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_stopped_run_resumes_to_the_same_files(dtb70: Path, tmp_path: Path) -> None:
    sequences = load_benchmark("DTB70", dtb70).sequences
    list(run_jobs(plan(tmp_path / "whole", {"Shaky": Shaky}, sequences), in_process))
    jobs = plan(tmp_path / "halves", {"Shaky": Shaky}, sequences)
    next(run_jobs(jobs, in_process))  # written, then abandoned
    (first,) = (tmp_path / "halves").rglob("Animal1.txt")
    written = first.stat().st_mtime_ns

    outcomes = list(run_jobs(jobs, in_process, resume=True))

    assert len(outcomes) == 3
    assert first.stat().st_mtime_ns == written
    assert contents(tmp_path / "whole") == contents(tmp_path / "halves")


def test_results_are_never_overwritten(dtb70: Path, tmp_path: Path) -> None:
    jobs = plan(tmp_path, {"Shaky": Shaky}, load_benchmark("DTB70", dtb70).sequences)
    list(run_jobs(jobs, in_process))

    with pytest.raises(OutputError, match="2 more results are there"):
        next(run_jobs(jobs, in_process))


def test_a_failure_is_recorded_and_the_rest_goes_on(dtb70: Path, tmp_path: Path) -> None:
    jobs = plan(tmp_path, {"Shaky": functools.partial(Shaky, fails_at=7)}, load_benchmark("DTB70", dtb70).sequences)

    outcomes = list(run_jobs(jobs, in_process))

    assert failures(outcomes) == ["Shaky on Animal1: ValueError: lost my way"]
    assert "ValueError: lost my way" in (tmp_path / "Shaky" / "errors" / "Animal1.txt").read_text()
    assert not (tmp_path / "Shaky" / "Animal1.txt").exists()
    assert len(contents(tmp_path)) == 2

    fixed = plan(tmp_path, {"Shaky": Shaky}, load_benchmark("DTB70", dtb70).sequences)
    assert not failures(run_jobs(fixed, in_process, resume=True))
    assert not (tmp_path / "Shaky" / "errors" / "Animal1.txt").exists()


def test_real_time_jobs_skip_frames(dtb70: Path, tmp_path: Path) -> None:
    jobs = plan(
        tmp_path, {"static": static}, load_benchmark("DTB70", dtb70).sequences, real_time=RealTime(30, latency=0.05)
    )

    (outcome, *_) = run_jobs(jobs, in_process)

    assert outcome.run is not None
    assert outcome.run.seconds is not None
    assert (outcome.run.seconds == 0).sum() == 3


def test_scores_come_without_files(dtb70: Path) -> None:
    scores = score_trackers({"static": static}, load_benchmark("DTB70", dtb70).sequences, in_process)

    assert set(scores["static"]) == {"Animal1", "Car6", "Yacht4"}
    assert 0 < scores["static"]["Car6"].success_auc < 20 / 21


@pytest.mark.slow
def test_workers_change_nothing_and_a_dead_one_costs_its_sequence(dtb70: Path, tmp_path: Path) -> None:
    from tctrack.cli.selection import make_tracker

    sequences = load_benchmark("DTB70", dtb70).sequences
    mil = {"mil": functools.partial(make_tracker, "mil")}
    list(run_jobs(plan(tmp_path / "here", mil, sequences), in_process))

    dying = {"dies": functools.partial(os._exit, 3)}
    jobs = [*plan(tmp_path / "workers", mil, sequences), *plan(tmp_path / "workers", dying, sequences[:1])]
    outcomes = list(run_jobs(jobs, functools.partial(in_processes, workers=2)))

    assert contents(tmp_path / "here") == contents(tmp_path / "workers")
    assert [line.partition(":")[0] for line in failures(outcomes)] == ["dies on Animal1"]


@pytest.mark.slow
def test_a_ray_cluster_of_two_workers_changes_nothing(dtb70: Path, tmp_path: Path) -> None:
    ray = pytest.importorskip("ray", reason="the extra 'ray' is not installed")
    from tctrack.cli.selection import make_tracker

    sequences = load_benchmark("DTB70", dtb70).sequences
    mil = {"mil": functools.partial(make_tracker, "mil")}
    list(run_jobs(plan(tmp_path / "here", mil, sequences), in_process))

    ray.init(num_cpus=2, include_dashboard=False, logging_level="error")
    try:
        outcomes = list(run_jobs(plan(tmp_path / "ray", mil, sequences), on_ray))
    finally:
        ray.shutdown()

    assert not failures(outcomes)
    assert contents(tmp_path / "here") == contents(tmp_path / "ray")
