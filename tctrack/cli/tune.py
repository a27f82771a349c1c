"""Search the tracker's hyper-parameters on a training split.

Tries the tracker's own setting and random ones of penalty_k, window_influence and lr, and writes every trial to a JSON
file as it ends; the same command goes on after a stop, and with another --seed adds to the trials. A score on sequences
that were tuned on is not a result: choose on a training or validation split, and test with one setting everywhere, as
the default does.

Examples:
  tctrack tune --dataset folder --root train_clips --out tune.json --trials 30 --workers 4
  tctrack tune --dataset GOT-10k --root got10k --tracker tctrack-lite,weights=my.safetensors --out tune.json
"""

from __future__ import annotations

import argparse
import functools
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tctrack.cli.selection import add_launch_arguments, make_launcher, parse_tracker, parse_trackers
from tctrack.config import Count, Whole, argument
from tctrack.files import check_outputs

if TYPE_CHECKING:
    from tctrack.benchmark.run import TrackerFactory


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    parser.add_argument("--dataset", required=True, metavar="NAME", help="data set to choose on, not one to test on")
    parser.add_argument("--root", required=True, type=Path, metavar="DIR", help="folder of the data set")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help="JSON file of the trials")
    parser.add_argument("--tracker", default="tctrack-lite", metavar="TRACKER", help="as of 'tctrack test'")
    parser.add_argument("--sequences", nargs="+", default=(), metavar="SEQ", help="only these sequences")
    parser.add_argument("--trials", type=argument(Count), default=20, metavar="N", help="settings to try (default: 20)")
    parser.add_argument(
        "--seed", type=argument(Whole), default=0, metavar="N", help="seed of the random settings (default: 0)"
    )
    add_launch_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    from tctrack.benchmark.catalogue import load_benchmark
    from tctrack.benchmark.tune import WARNING, load_trials, propose, save_trials, search

    print(f"warning: {WARNING}", file=sys.stderr)
    found = load_benchmark(args.dataset, args.root, args.sequences)
    check_outputs({"--out": args.out}, found.inputs())
    names = [sequence.name for sequence in found.sequences]
    about = {"dataset": found.benchmark.name, "protocol": "otb", "tracker": args.tracker, "sequences": names}
    trials = load_trials(args.out, about)
    parse_trackers([args.tracker])
    build = functools.partial(_with_options, args.tracker)

    for trial in search(build, found.sequences, propose(args.trials, args.seed), make_launcher(args), trials):
        if trial not in trials:
            trials.append(trial)
        save_trials(args.out, about, trials)
        settings = ", ".join(f"{name}={value:g}" for name, value in trial.options.items()) or "own setting"
        print(f"AUC {trial.success_auc:.3f}  precision@20 {trial.precision_20:.3f} (otb)  {settings}")
    best = max(trials, key=lambda trial: trial.success_auc)
    print(f"best: AUC {best.success_auc:.3f} (otb) with {best.options or 'its own setting'}")
    return 0


def _with_options(tracker: str, options: dict[str, float]) -> TrackerFactory:
    return parse_tracker(",".join([tracker, *(f"{name}={value}" for name, value in options.items())]))[1]
