"""Say what happens in a video.

Prints the most probable classes of a video file, averaged over clips that are spread over it. The model is a file
of `tctrack train-action`, which carries the names of its classes and what it sees of a video, or a network with the
weights of a released .pth file.

Examples:
    tctrack classify video.mp4 --model runs/k400/model.safetensors
    tctrack classify video.mp4 --model tada2d_r50 --weights TAda2D_8x8.pth --labels kinetics400.txt --topk 3
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tctrack.cli.classifier import add_model_arguments, read_model_arguments
from tctrack.config import Count, argument


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("video", metavar="VIDEO", type=Path, help="video file")
    parser.add_argument("--topk", type=argument(Count), default=5, help="classes to print")
    parser.add_argument("--clips", type=argument(Count), default=4, help="clips of the video")
    parser.add_argument("--labels", metavar="FILE", type=Path, help="names of the classes, one a line")
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Classify the video."""
    from tctrack.action.lists import read_names
    from tctrack.action.training import classify_video

    classifier, spec = read_model_arguments(args)
    names = read_names(args.labels) if args.labels else classifier.classes
    first = 0
    for probabilities in classify_video(classifier.model, args.video, spec, clips=args.clips):
        best = probabilities.topk(min(args.topk, len(probabilities)))
        for score, index in zip(best.values.tolist(), best.indices.tolist(), strict=True):
            number = first + index
            print(f"{score:7.4f}  {names[number] if names and number < len(names) else f'class {index}'}")
        first += len(probabilities)
    return 0
