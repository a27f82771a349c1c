"""One-pass evaluation: run trackers over sequences, here, in processes, or on a Ray cluster.

Every run of a sequence starts with a new tracker and fixed random seeds, so neither the order of the sequences nor the
number of workers changes a result.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import signal
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np

from tctrack.benchmark.latency import Latency, track, track_in_real_time
from tctrack.benchmark.metrics import BoxScores, score
from tctrack.benchmark.results import Run, read_run, result_path, write_run
from tctrack.benchmark.sequences import BenchmarkSequence
from tctrack.errors import ConfigError, DependencyError, OutputError, TrackerError, require
from tctrack.files import write_text
from tctrack.types import FloatArray, Frame, OnlineTracker

#: Seconds to wait where nothing limits them.
_LONG = 3600.0
#: Where a frame has a limit, building the tracker has so many times that, and at least so many seconds.
_BUILDING = 10, 30.0
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
    timeout: float | None = None
    """Seconds that :func:`in_processes` gives the tracker for a frame, and ten times for building; None for no end."""


@dataclass(frozen=True)
class Outcome:
    """The result of a job: a run, or the traceback of the error that ended it."""

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
    factories: Mapping[str, TrackerFactory],
    sequences: Sequence[BenchmarkSequence],
    repeats: int = 1,
    real_time: RealTime | None = None,
) -> list[Job]:
    """List the jobs of a benchmark whose results go to ``folder/TRACKER``.

    Raises:
        ConfigError: two runs would have the same file, as two sequences share a name, or one is named like a repeat.
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
    factories: Mapping[str, TrackerFactory], sequences: Sequence[BenchmarkSequence], launch: Launcher
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
    factories: Mapping[str, TrackerFactory], sequences: Sequence[BenchmarkSequence], launch: Launcher
) -> dict[str, dict[str, BoxScores]]:
    """Score what :func:`run_trackers` finds under the ``otb`` protocol, by tracker and sequence."""
    return {
        tracker: {sequence.name: score(sequence.boxes, found[sequence.name]) for sequence in sequences}
        for tracker, found in run_trackers(factories, sequences, launch).items()
    }


def execute(job: Job, alive: Callable[[], None] = lambda: None) -> Outcome:
    """Run one job in this process, and call ``alive`` before the tracker is built, and before each frame.

    Raises:
        ConfigError: the options are invalid, which concerns all jobs.
    """
    _seed(job.repeat)
    alive()
    try:
        box = tuple(float(value) for value in job.sequence.boxes[0])
        tracker, frames = job.factory(), _announced(job.sequence.frames(), alive)
        if job.real_time is None:
            return Outcome(job, track(tracker, frames, box))
        rate = job.real_time
        return Outcome(job, track_in_real_time(tracker, frames, box, rate.fps, rate.latency))
    except ConfigError:
        raise
    except Exception:  # a tracker is foreign code: whatever it raises is the sequence's result
        return Outcome(job, error=traceback.format_exc())


def _announced(frames: Iterable[Frame], alive: Callable[[], None]) -> Iterator[Frame]:
    for frame in frames:
        alive()
        yield frame


def in_process(jobs: Sequence[Job], threads: int = 1) -> Iterator[Outcome]:
    """Run jobs one after another in this process."""
    _limit_threads(threads)
    yield from map(execute, jobs)


def in_processes(jobs: Sequence[Job], workers: int = 1, threads: int = 1) -> Iterator[Outcome]:
    """Run jobs in worker processes, each with so many threads.

    A tracker that ends its process, or takes longer than its job's ``timeout`` for a frame, costs only its sequence.
    """
    waiting, idle, busy = deque(jobs), list[_Worker](), list[_Worker]()
    try:
        while waiting or busy:
            while waiting and len(busy) < workers:
                worker = idle.pop() if idle and idle[-1].process.is_alive() else _Worker(threads)
                worker.start(waiting.popleft())
                busy.append(worker)
            wait([worker.pipe for worker in busy], min(worker.patience() for worker in busy))
            for worker in tuple(busy):
                if outcome := worker.poll():
                    busy.remove(worker)
                    if worker.process.is_alive():
                        idle.append(worker)
                    yield outcome
    finally:
        for worker in (*idle, *busy):
            worker.end()


class _Worker:
    """A process that runs one job after another, and sends a sign of life before each step of it."""

    def __init__(self, threads: int) -> None:
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, threads))
        self.process.start()
        theirs.close()

    def start(self, job: Job) -> None:
        """Begin a job."""
        self._job, self._steps, self._seen = job, 0, time.monotonic()
        self.pipe.send(job)

    def patience(self) -> float:
        """Return the seconds until the job takes too long."""
        limit = self._limit()
        return _LONG if limit is None else max(0.0, self._seen + limit - time.monotonic())

    def _limit(self) -> float | None:
        if self._job.timeout is None or not self._steps:  # starting a process may take any time
            return None
        times, least = _BUILDING
        return self._job.timeout if self._steps > 1 else max(times * self._job.timeout, least)

    def poll(self) -> Outcome | None:
        """Return what came of the job, if it is over.

        Raises:
            ConfigError: as of :func:`execute`.
        """
        try:
            while self.pipe.poll():
                message = self.pipe.recv()
                if isinstance(message, ConfigError):
                    raise message
                if message is not None:
                    run, error = message
                    return Outcome(self._job, run, error)
                self._steps, self._seen = self._steps + 1, time.monotonic()
        except (EOFError, OSError):
            self.process.join()
            return Outcome(self._job, error=f"the tracker ended its process (exit code {self.process.exitcode})")
        if self.patience():
            return None
        self.end()
        step = f"for frame {self._steps - 1}" if self._steps > 1 else "from its constructor"
        return Outcome(self._job, error=f"no answer {step} in {self._limit():g} s (--timeout)")

    def end(self) -> None:
        """End the process, whatever it does."""
        self.process.kill()
        self.process.join()
        self.pipe.close()


def _work(pipe: Connection[Any, Any], threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends its workers
    _limit_threads(threads)
    with contextlib.suppress(EOFError, OSError):  # the parent is gone
        while True:
            job = pipe.recv()
            try:
                outcome = execute(job, lambda: pipe.send(None))
                pipe.send((outcome.run, outcome.error))
            except ConfigError as error:
                pipe.send(error)


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
