"""Print success AUC and precision@20 (protocol otb) over the development set of 16 sequences.

python tools/devset.py tctrack-lite nano,weights=FOLDER,label=NanoTrackV2 mil --workers 2
python tools/devset.py tctrack-lite --weights runs/lite/tctrack-lite.safetensors --four-starts --workers 2

With --four-starts every sequence is tracked four times, also backward and from its thirds: better to choose weights by.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tctrack.benchmark.catalogue import load_benchmark
from tctrack.benchmark.metrics import mean_scores
from tctrack.benchmark.run import score_trackers
from tctrack.benchmark.sequences import BenchmarkSequence, four_starts
from tctrack.cli.selection import add_launch_arguments, make_launcher, parse_trackers
from tctrack.errors import TCTrackError


def development_set(data: Path) -> list[BenchmarkSequence]:
    parts = (("UAV123_10fps", "benchmarks"), ("DTB70", "benchmarks"), ("folder", "videos"))
    return [sequence for name, folder in parts for sequence in load_benchmark(name, data / folder).sequences]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tracker", nargs="+", help="NAME[,key=value...], as of 'tctrack test'")
    parser.add_argument("--weights", metavar="FILE", help="weights of the first tracker")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), metavar="DIR")
    parser.add_argument("--four-starts", action="store_true", help="64 runs in place of 16")
    add_launch_arguments(parser)
    try:
        run(parser.parse_args())
    except TCTrackError as error:
        parser.exit(2, f"error: {error}\n")


def run(args: argparse.Namespace) -> None:
    if args.weights:
        args.tracker[0] += f",weights={args.weights}"

    sequences = development_set(args.data)
    if args.four_starts:
        sequences = [run for sequence in sequences for run in four_starts(sequence)]
    scores = score_trackers(parse_trackers(args.tracker), sequences, make_launcher(args))
    names = list(next(iter(scores.values())))
    print("success AUC / precision@20 (otb)            ", *(f"{tracker:>14}" for tracker in scores))
    for name in sorted(names):
        print(f"{name:44}", *(f"{s[name].success_auc:7.3f}/{s[name].precision_20:.3f} " for s in scores.values()))
    means = [mean_scores(by_sequence.values()) for by_sequence in scores.values()]
    print(f"{f'mean of {len(names)}':44}", *(f"{mean.success_auc:7.3f}/{mean.precision_20:.3f} " for mean in means))


if __name__ == "__main__":
    main()
