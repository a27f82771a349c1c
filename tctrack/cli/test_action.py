"""Test a video classifier on a list of videos.

Averages the probabilities of several clips and crops of every video, as the papers do, and prints the top-1 and top-5
accuracy: of the class, or of verb, noun and action. Videos that cannot be read are counted and left out.

Examples:
    tctrack test-action val.csv --model runs/k400/model.safetensors
    tctrack test-action val.json --kind ssv2 --model tada2d_r50 --weights TAda2D.pth --clip sampling=uniform
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tctrack.cli.classifier import add_model_arguments, print_accuracy, read_model_arguments
from tctrack.config import Count, Workers, argument


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("list", metavar="LIST", type=Path, help="list file of labelled videos")
    parser.add_argument("--kind", default="kinetics", help="format of the list: kinetics, ssv2 or epic")
    parser.add_argument("--root", metavar="DIR", type=Path, help="folder of the videos (default: the list's)")
    parser.add_argument("--clips", type=argument(Count), default=10, help="clips of a video")
    parser.add_argument("--crops", type=argument(Count), default=3, help="crops of a clip")
    parser.add_argument("--workers", type=argument(Workers), default=2, help="processes that decode videos")
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Test the classifier."""
    from tctrack.action.training import ListConfig, evaluate_classifier
    from tctrack.config import build

    source = build(ListConfig, {"path": args.list, "root": args.root, "kind": args.kind})
    classifier, spec = read_model_arguments(args)
    scores = evaluate_classifier(
        classifier.model, source, spec, clips=args.clips, crops=args.crops, workers=args.workers
    )
    print_accuracy(scores)
    return 0
