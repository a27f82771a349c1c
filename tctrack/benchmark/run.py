"""One-pass evaluation: run trackers over sequences, here, in processes, or on a Ray cluster.

Every run of a sequence starts with a new tracker and fixed random seeds, so neither the order of the sequences nor the
number of workers changes a result.
"""

from __future__ import annotations

import ctypes
import os
import random
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from tctrack.benchmark.latency import Latency, track, track_in_real_time
from tctrack.benchmark.metrics import BoxScores, score
from tctrack.benchmark.results import Run, read_run, result_path, write_run
from tctrack.benchmark.sequences import BenchmarkSequence
from tctrack.errors import ConfigError, DependencyError, OutputError, TrackerError, require
from tctrack.files import write_text
from tctrack.types import FloatArray, OnlineTracker

#: Makes a tracker; it crosses to worker processes, so it must be picklable.
TrackerFactory = Callable[[], OnlineTracker]


@dataclass(frozen=True)
class RealTime:
    """Frames arrive ``fps`` times a second and do not wait; ``latency`` as in :mod:`tctrack.benchmark.latency`."""

    fps: float
    latency: Latency = None


@dataclass(frozen=True)
class Job:
    """One tracker on one sequence, and the file its boxes go to."""

    tracker: str
    factory: TrackerFactory
    sequence: BenchmarkSequence
    path: Path
    repeat: int = 1
    real_time: RealTime | None = None


@dataclass(frozen=True)
class Outcome:
    """What came of a job: a run, or the traceback of the error that ended it."""

    job: Job
    run: Run | None = None
    error: str = ""

    def scores(self) -> BoxScores:
        """Score the run under the ``otb`` protocol."""
        assert self.run is not None
        return score(self.job.sequence.boxes, self.run.boxes)


#: Runs jobs somewhere and yields outcomes as they come.
Launcher = Callable[[Sequence[Job]], Iterator[Outcome]]


def plan(
    folder: Path,
    factories: dict[str, TrackerFactory],
    sequences: Sequence[BenchmarkSequence],
    repeats: int = 1,
    real_time: RealTime | None = None,
) -> list[Job]:
    """List the jobs of a benchmark whose results go to ``folder/TRACKER``.

    Raises:
        ConfigError: two runs would have the same file, by two sequences of one name, or one named like a repeat.
    """
    jobs = [
        Job(name, factory, sequence, result_path(folder / name, sequence.name, repeat), repeat, real_time)
        for name, factory in factories.items()
        for repeat in range(1, repeats + 1)
        for sequence in sequences
    ]
    path, count = Counter(job.path for job in jobs).most_common(1)[0] if jobs else (folder, 1)
    if count > 1:
        raise ConfigError(f"two runs would write {path}; rename a sequence, or leave one of them out")
    return jobs


def run_jobs(jobs: Sequence[Job], launch: Launcher, resume: bool = False) -> Iterator[Outcome]:
    """Run jobs, write each result as it comes, and yield the outcomes; with ``resume``, finished ones come first.

    A job that fails leaves its traceback in ``errors/SEQUENCE.txt`` of the tracker's folder and the others go on.

    Raises:
        OutputError: results are there and ``resume`` is not set, or a file cannot be written.
        DatasetError: a result to resume from is malformed.
    """
    done = [job for job in jobs if job.path.is_file()]
    todo = [job for job in jobs if not job.path.is_file()]
    if done and not resume:
        raise OutputError(f"{done[0].path} and {len(done) - 1} more results are there; resume, or use another folder")
    for job in done:
        yield Outcome(job, read_run(job.path, len(job.sequence)))
    for outcome in launch(todo):
        log = outcome.job.path.parent / "errors" / outcome.job.path.name
        if outcome.run is None:
            write_text(log, outcome.error)
        else:
            log.unlink(missing_ok=True)
            write_run(outcome.job.path, outcome.run)
        yield outcome


def run_trackers(
    factories: dict[str, TrackerFactory], sequences: Sequence[BenchmarkSequence], launch: Launcher
) -> dict[str, dict[str, FloatArray]]:
    """Run trackers over sequences without writing files; return their boxes ``(T, 4)`` by tracker and sequence.

    Raises:
        ConfigError: two sequences have the same name.
        TrackerError: a tracker failed.
    """
    boxes: dict[str, dict[str, FloatArray]] = {name: {} for name in factories}
    for outcome in launch(plan(Path(), factories, sequences)):
        if outcome.run is None:
            raise TrackerError(*failures([outcome])) from RuntimeError(outcome.error)
        boxes[outcome.job.tracker][outcome.job.sequence.name] = outcome.run.boxes
    return boxes


def score_trackers(
    factories: dict[str, TrackerFactory], sequences: Sequence[BenchmarkSequence], launch: Launcher
) -> dict[str, dict[str, BoxScores]]:
    """Score what :func:`run_trackers` finds under the ``otb`` protocol, by tracker and sequence."""
    return {
        tracker: {sequence.name: score(sequence.boxes, found[sequence.name]) for sequence in sequences}
        for tracker, found in run_trackers(factories, sequences, launch).items()
    }


def execute(job: Job) -> Outcome:
    """Run one job in this process.

    Raises:
        ConfigError: the job itself makes no sense, so the others do not either.
    """
    _seed(job.repeat)
    try:
        box = tuple(float(value) for value in job.sequence.boxes[0])
        frames, tracker = job.sequence.frames(), job.factory()
        if job.real_time is None:
            return Outcome(job, track(tracker, frames, box))
        rate = job.real_time
        return Outcome(job, track_in_real_time(tracker, frames, box, rate.fps, rate.latency))
    except ConfigError:
        raise
    except Exception:  # a tracker is foreign code: whatever it raises is the sequence's result
        return Outcome(job, error=traceback.format_exc())


def in_process(jobs: Sequence[Job], threads: int = 1) -> Iterator[Outcome]:
    """Run jobs one after another in this process."""
    _limit_threads(threads)
    yield from map(execute, jobs)


def in_processes(jobs: Sequence[Job], workers: int, threads: int = 1) -> Iterator[Outcome]:
    """Run jobs in worker processes, each with so many threads."""
    lost = []
    for job, future in _submit(jobs, workers, threads):
        if isinstance(future.exception(), BrokenProcessPool):
            lost.append(job)
        else:
            yield future.result()
    for job in lost:  # one of them took the pool down: alone, each can only take itself down
        for _, future in _submit([job], 1, threads):
            broken = future.exception()
            yield Outcome(job, error=f"the worker process died: {broken}") if broken else future.result()


def _submit(jobs: Sequence[Job], workers: int, threads: int) -> Iterator[tuple[Job, Future[Outcome]]]:
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _limit_threads, (threads,))
    try:
        futures = {pool.submit(execute, job): job for job in jobs}
        for future in as_completed(futures):
            yield futures[future], future
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def on_ray(jobs: Sequence[Job], address: str = "auto", threads: int = 1) -> Iterator[Outcome]:
    """Run jobs as tasks of a running Ray cluster whose nodes see the data under the same paths.

    Raises:
        DependencyError: Ray is not installed, or no cluster runs at the address.
    """
    ray = require("ray", "ray")
    try:
        ray.init(address=address, ignore_reinit_error=True, logging_level="warning")
    except ConnectionError:
        raise DependencyError(f"no Ray cluster at '{address}'; start one with: ray start --head") from None

    folder = Path.cwd()

    def work(job: Job) -> Outcome:
        os.chdir(folder)  # relative paths in trackers' options mean what they mean here
        _limit_threads(threads)
        return execute(job)

    task = ray.remote(num_cpus=threads, max_retries=0)(work)
    waiting = [task.remote(job) for job in jobs]
    while waiting:
        ready, waiting = ray.wait(waiting)
        yield from ray.get(ready)


def failures(outcomes: Iterable[Outcome]) -> list[str]:
    """Return a line for each failed outcome: tracker, sequence and the last line of the error."""
    return [
        f"{outcome.job.tracker} on {outcome.job.sequence.name}: {outcome.error.strip().splitlines()[-1]}"
        for outcome in outcomes
        if outcome.run is None
    ]


def _limit_threads(threads: int) -> None:
    """Fix the threads of torch and OpenCV: with another number, sums round differently."""
    import cv2
    import torch

    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)


def _seed(seed: int) -> None:
    """Seed every generator a tracker may draw from; OpenCV's MIL takes its features from C's ``rand``."""
    import cv2
    import torch

    ctypes.CDLL("ucrtbase" if os.name == "nt" else None).srand(seed)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (foreign trackers use the global generator)
    torch.manual_seed(seed)
    cv2.setRNGSeed(seed)
