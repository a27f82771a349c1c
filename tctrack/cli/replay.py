"""Play result files over their frames.

Draws the true box (yellow) and the boxes of one or more trackers on the frames of a sequence, in a window or into a
video file.

Examples:
  tctrack replay --dataset DTB70 --root data/DTB70 --results results --sequence Gull1
  tctrack replay --dataset DTB70 --root data/DTB70 --results results --sequence Gull1 --trackers mine mil --out g.mp4
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tctrack.config import Rate, argument


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    parser.add_argument("--dataset", required=True, metavar="NAME", help="benchmark; 'tctrack datasets' lists them")
    parser.add_argument("--root", required=True, type=Path, metavar="DIR", help="folder of the benchmark")
    parser.add_argument("--results", required=True, type=Path, metavar="DIR", help="folder of the results")
    parser.add_argument("--sequence", required=True, metavar="SEQ", help="sequence to play")
    parser.add_argument("--trackers", nargs="+", metavar="NAME", help="folders to show (default: all)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write a video instead of opening a window")
    parser.add_argument("--fps", type=argument(Rate), default=30, metavar="F", help="frames a second (default: 30)")


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    from contextlib import ExitStack
    from time import perf_counter, sleep

    import numpy as np

    from tctrack.benchmark.catalogue import load_benchmark
    from tctrack.benchmark.plots import TRUTH_COLOUR, bgr, tracker_colour
    from tctrack.benchmark.results import find_runs, find_trackers, read_run
    from tctrack.errors import DatasetError
    from tctrack.files import check_outputs
    from tctrack.types import Box
    from tctrack.video import Window, draw_box, open_picture_sink

    found = load_benchmark(args.dataset, args.root, [args.sequence])
    (sequence,) = found.sequences
    boxes, files = {"": (sequence.boxes, TRUTH_COLOUR)}, found.inputs()
    for rank, name in enumerate(args.trackers or find_trackers(args.results, found.benchmark.name)):
        runs = find_runs(args.results / found.benchmark.name / name, sequence.name, found.present)
        if not runs:
            raise DatasetError(f"{name} has no result for '{sequence.name}' in {args.results / found.benchmark.name}")
        boxes[name] = (read_run(runs[0], len(sequence)).boxes, tracker_colour(rank))
        files.add(runs[0])
    check_outputs({"--out": args.out}, files)

    with ExitStack() as stack:
        window = None if args.out else stack.enter_context(Window(f"{sequence.name}: q or Esc ends"))
        sink = None
        for index, frame in enumerate(sequence.frames()):
            start = perf_counter()
            picture = frame.copy()
            for name, (track, colour) in boxes.items():
                if np.isfinite(track[index]).all():
                    draw_box(picture, Box(*track[index].tolist()), name, bgr(colour))
            if window:
                if not window.show(picture):
                    break
                sleep(max(0.0, 1 / args.fps - (perf_counter() - start)))
                continue
            if sink is None:
                sink = open_picture_sink(args.out, (frame.shape[1], frame.shape[0]), args.fps)
                stack.enter_context(sink)
            sink.write(picture)
    return 0
