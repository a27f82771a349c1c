"""Print success AUC and precision@20 (protocol otb) over the development set of 16 sequences, or over a selection set.

python tools/devset.py tctrack-lite nano,weights=FOLDER,label=NanoTrackV2 mil --workers 2
python tools/devset.py tctrack-lite --weights runs/lite/tctrack-lite.safetensors --four-starts --workers 2
python tools/devset.py tctrack-lite nanotrack,weights=V3 --selection TRACKS --four-starts --workers 2

With --four-starts every sequence is tracked four times, also backward and from its thirds: better to choose weights by.
Choose weights and settings on a selection set, and report the development set. TRACKS holds folders of tracks.json
({"VIDEO/ID": [[image, x, y, w, h], …]}); of every video the longest tracks count. The last lines are the means and the
differences from the first tracker with 95 % intervals (bootstrap over sequences): a difference inside them is chance.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch

from tctrack.benchmark.catalogue import load_benchmark
from tctrack.benchmark.metrics import bootstrap_interval
from tctrack.benchmark.run import score_trackers
from tctrack.benchmark.sequences import BenchmarkSequence, four_starts, read_tracks
from tctrack.cli.selection import add_launch_arguments, make_launcher, parse_trackers
from tctrack.errors import DatasetError, TCTrackError

#: Recordings that the shipped weights have learned from, so that they cannot be chosen by them.
TRAINED = ("OTB_Basketball", "OTB_Couple", "OTB_Crossing", "OTB_David", "OTB_Football1", "OTB_Jogging", "DAVIS")
#: Tracks that count of a video, at most; frames of a track, at least and at most.
PER_VIDEO, SHORTEST, LONGEST = 6, 40, 150


def development_set(data: Path) -> list[BenchmarkSequence]:
    parts = (("UAV123_10fps", "benchmarks"), ("DTB70", "benchmarks"), ("folder", "videos"))
    return [sequence for name, folder in parts for sequence in load_benchmark(name, data / folder).sequences]


def selection_set(tracks: Path) -> list[BenchmarkSequence]:
    videos = defaultdict(list)
    for file in sorted(tracks.glob("*/tracks.json")):
        for track in read_tracks(file):
            if len(track) >= SHORTEST and not track.name.startswith(TRAINED):
                videos[track.source[0].parent].append(track)  # type: ignore[index]
    if not videos:
        raise DatasetError(f"{tracks} holds no SOURCE/tracks.json with {SHORTEST} frames a track; give another folder")
    longest = [track for found in videos.values() for track in sorted(found, key=len, reverse=True)[:PER_VIDEO]]
    return [
        dataclasses.replace(track, boxes=track.boxes[:LONGEST], source=track.source[:LONGEST])  # type: ignore[index]
        for track in longest
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tracker", nargs="+", help="NAME[,key=value...], as of 'tctrack test'")
    parser.add_argument("--weights", metavar="FILE", help="weights of the first tracker")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), metavar="DIR")
    parser.add_argument(
        "--selection", type=Path, metavar="TRACKS", help="recorded tracks in place of the development set"
    )
    parser.add_argument("--four-starts", action="store_true", help="four runs of each sequence in place of one")
    add_launch_arguments(parser)
    try:
        run(parser.parse_args())
    except TCTrackError as error:
        parser.exit(2, f"error: {error}\n")


def run(args: argparse.Namespace) -> None:
    if args.weights:
        args.tracker[0] += f",weights={args.weights}"
    sequences = selection_set(args.selection) if args.selection else development_set(args.data)
    runs = {s.name: four_starts(s) if args.four_starts else [s] for s in sequences}
    launch = make_launcher(args)
    scores = score_trackers(parse_trackers(args.tracker), [run for each in runs.values() for run in each], launch)
    names = list(next(iter(scores.values())))
    print("torch", torch.__version__)
    print("success AUC / precision@20 (otb)            ", *(f"{tracker:>14}" for tracker in scores))
    for name in sorted(names):
        print(f"{name:44}", *(f"{s[name].success_auc:7.3f}/{s[name].precision_20:.3f} " for s in scores.values()))
    print()

    values = {
        tracker: np.array([
            np.mean([(found[run.name].success_auc, found[run.name].precision_20) for run in each], axis=0)
            for each in runs.values()
        ])
        for tracker, found in scores.items()
    }  # fmt: skip
    first = next(iter(values))
    for tracker, of_sequences in values.items():
        print(f"{f'{tracker}: mean of {len(names)} runs':44}", *map(mean_and_interval, of_sequences.T))
    for tracker, of_sequences in list(values.items())[1:]:
        difference = values[first] - of_sequences
        print(f"{f'{first} - {tracker}':44}", *map(mean_and_interval, difference.T))


def mean_and_interval(values: np.ndarray) -> str:
    low, high = bootstrap_interval(values)
    return f"  {values.mean():6.3f} [{low:6.3f}, {high:6.3f}]"


if __name__ == "__main__":
    main()
