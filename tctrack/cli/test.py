"""Run trackers over a benchmark: one-pass evaluation.

Boxes go to DIR/DATASET/TRACKER/SEQUENCE.txt, the layout that the field's toolkits read, times in seconds beside them.
Each file appears whole; with --resume a run that was stopped goes on where it was, if run.json beside the results says
that they come from the same tracker, options, weights and version. A sequence on which a tracker fails, ends its
process or hangs (--timeout) leaves the reason in DIR/DATASET/TRACKER/errors and does not stop the rest.

TRACKER is a name of this project with options, NAME[,key=value...], or module:Class[,key=value...] for a class with
got10k's two methods, init(image, box) and update(image). The option label= names its results.

With --realtime, frames arrive at --fps and do not wait: the tracker takes the newest one, and each true box is scored
with the newest finished result. Results go to TRACKER@30fps, and are shown beside the offline ones.

Examples:
  tctrack test --dataset DTB70 --root data/DTB70 --tracker tctrack-lite mil --results results --workers 4
  tctrack test --dataset UAV123@10fps --root data --tracker tctrack-lite,weights=my.safetensors,label=mine --results r
  tctrack test --dataset folder --root my_videos --tracker mymodule:MyTracker --results results --resume
  tctrack test --dataset DTB70 --root data/DTB70 --tracker tctrack-lite --results results --realtime --latency 50
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tctrack.cli.selection import add_launch_arguments, make_launcher, parse_trackers
from tctrack.config import Bounds, Positive, Rate, argument
from tctrack.errors import ConfigError

if TYPE_CHECKING:
    from tctrack.benchmark.run import Job, Outcome

#: Seconds that a tracker of others may take for a frame.
PATIENCE = 30.0
#: Files of results are numbered with three digits.
Repeats = Annotated[int, Bounds(1, 999)]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    parser.add_argument("--dataset", required=True, metavar="NAME", help="benchmark; 'tctrack datasets' lists them")
    parser.add_argument("--root", required=True, type=Path, metavar="DIR", help="folder of the benchmark")
    parser.add_argument("--tracker", required=True, nargs="+", metavar="TRACKER", help="trackers to run")
    parser.add_argument("--results", required=True, type=Path, metavar="DIR", help="folder of the results")
    parser.add_argument("--sequences", nargs="+", default=(), metavar="SEQ", help="only these sequences")
    parser.add_argument(
        "--repeat", type=argument(Repeats), default=1, metavar="N", help="runs of each sequence, seeded 1 to N"
    )
    parser.add_argument("--resume", action="store_true", help="keep the results that are there, and run the rest")
    parser.add_argument("--realtime", action="store_true", help="frames arrive at --fps and do not wait")
    parser.add_argument("--fps", type=argument(Rate), default=30, metavar="F", help="frames a second (default: 30)")
    parser.add_argument(
        "--latency",
        metavar="MS",
        help="with --realtime: milliseconds a frame, or 'recorded' for the times of the offline results; measured here "
        "when not given",
    )
    parser.add_argument(
        "--timeout",
        type=argument(Positive),
        metavar="S",
        help=f"seconds for a frame, after which the sequence fails, and ten times that (30 at least) for building "
        f"the tracker (default: none; {PATIENCE:g} for module:Class)",
    )
    add_launch_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Run the verb; 1 means that a tracker failed on a sequence."""
    import torch
    from tqdm import tqdm

    from tctrack.benchmark.catalogue import load_benchmark
    from tctrack.benchmark.evaluation import evaluate, format_table
    from tctrack.benchmark.results import claim_folder, find_runs
    from tctrack.benchmark.run import failures, plan, run_jobs

    found = load_benchmark(args.dataset, args.root, args.sequences)
    if found.missing and not args.sequences:
        print(_missing_line(found.benchmark.name, len(found.sequences), found.missing), file=sys.stderr)
    folder = args.results / found.benchmark.name
    trackers = parse_trackers(args.tracker, args.timeout or PATIENCE)
    limits = {name: args.timeout or (PATIENCE if spec.imported else None) for name, spec in trackers.items()}
    jobs = [replace(job, timeout=limits[job.tracker]) for job in plan(folder, trackers, found.sequences, args.repeat)]
    online = {"fps": args.fps, "latency": args.latency} if args.realtime else {}
    identities = {name: spec.identity() | online for name, spec in trackers.items()}
    if args.realtime:
        jobs, offline = _in_real_time(jobs, args.fps, args.latency), jobs
        identities = {job.tracker: identities[old.tracker] for job, old in zip(jobs, offline, strict=True)}
    for name, identity in identities.items():
        claim_folder(folder / name, identity)

    outcomes: list[Outcome] = []
    with tqdm(total=len(jobs), unit="seq", disable=None) as bar:
        for outcome in run_jobs(jobs, make_launcher(args), args.resume):
            outcomes.append(outcome)
            bar.set_postfix_str(f"{outcome.job.tracker}: {_running_score(outcomes, outcome.job.tracker)}")
            bar.update()

    failed = failures(outcomes)
    names = dict.fromkeys([*trackers, *(job.tracker for job in jobs)])
    shown = [name for name in names if any((folder / name).glob("*.txt"))]
    if shown and not found.benchmark.withheld:
        everywhere = all(find_runs(folder / name, seq.name, found.present) for name in shown for seq in found.sequences)
        print(format_table(evaluate(found, args.results, shown, "otb", partial=not everywhere)))
        print(f"torch {torch.__version__}")
    for line in failed:
        print(f"failed: {line}", file=sys.stderr)
    return 1 if failed else 0


def _missing_line(dataset: str, count: int, missing: tuple[str, ...]) -> str:
    names = ", ".join(missing[:8]) + (" ..." if len(missing) > 8 else "")
    return f"{dataset}: {count} sequences found, {len(missing)} missing: {names}"


def _in_real_time(jobs: list[Job], fps: float, latency: str | None) -> list[Job]:
    """Turn offline jobs into real-time ones, whose results have folders of their own."""
    from tctrack.benchmark.results import read_run
    from tctrack.benchmark.run import RealTime

    suffix = f"@{fps:g}fps"
    seconds: float | None = None
    if latency not in (None, "recorded"):
        try:
            seconds = float(latency) / 1000
        except ValueError:
            seconds = math.nan
        if not 0 <= seconds < math.inf:
            raise ConfigError(f"--latency {latency} is neither milliseconds nor 'recorded'")
        suffix += f"-{latency}ms"
    elif latency:
        suffix += "-recorded"
    online = []
    for job in jobs:
        rate = RealTime(fps, seconds)
        if latency == "recorded":
            times = read_run(job.path, len(job.sequence)).seconds if job.path.is_file() else None
            if times is None:
                raise ConfigError(f"no recorded times for {job.path}; run the tracker without --realtime first")
            rate = RealTime(fps, times.tolist())
        name = job.tracker + suffix
        online.append(replace(job, tracker=name, path=job.path.parent.parent / name / job.path.name, real_time=rate))
    return online


def _running_score(outcomes: list[Outcome], tracker: str) -> str:
    scores = [outcome.scores().success_auc for outcome in outcomes if outcome.run and outcome.job.tracker == tracker]
    return f"AUC {sum(scores) / len(scores):.3f} (otb)" if scores else "failed"
