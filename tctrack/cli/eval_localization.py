"""Score detected actions: mAP at tIoU thresholds.

Annotations and results are .json files of ActivityNet or HACS (thresholds 0.5 to 0.95), or annotations are a .csv file
of Epic-Kitchens-100 (0.1 to 0.5), for its verbs, nouns or actions.

Examples:
    tctrack eval-localization results.json HACS_segments.json --subset validation
    tctrack eval-localization results.json EPIC_100_validation.csv --task verb
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("results", metavar="RESULTS", type=Path, help=".json file of detections")
    parser.add_argument("annotations", metavar="ANNOTATIONS", type=Path, help=".json or .csv file of annotations")
    parser.add_argument("--subset", help="subset of a .json file (default: all)")
    parser.add_argument("--task", choices=("verb", "noun", "action"), default="action", help="labels of a .csv file")


def run(args: argparse.Namespace) -> int:
    """Score the detections."""
    from tctrack.action.scores import ACTIVITYNET_TIOUS, EPIC_TIOUS, mean_average_precision
    from tctrack.action.segments import read_annotations, read_results

    tious = EPIC_TIOUS if args.annotations.suffix == ".csv" else ACTIVITYNET_TIOUS
    truth = read_annotations(args.annotations, args.subset, args.task)
    print_table(tious, mean_average_precision(truth, read_results(args.results, args.task), tious))
    return 0


def print_table(tious: Iterable[float], scores: Iterable[float]) -> None:
    """Print the mAP at every threshold and their mean, in percent."""
    values = [100 * float(score) for score in scores]
    for threshold, value in zip(tious, values, strict=True):
        print(f"mAP@{threshold:.2f}  {value:6.2f}")
    print(f"average   {sum(values) / len(values):6.2f}")
