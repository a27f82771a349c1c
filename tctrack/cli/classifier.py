"""What the verbs about video classifiers share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tctrack.action.checkpoint import Classifier
    from tctrack.action.clips import ClipSpec
    from tctrack.action.training import Accuracy


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what names a classifier and what it sees of a video."""
    parser.add_argument(
        "--model", metavar="MODEL", required=True, help="file of a trained classifier, or a network such as tada2d_r50"
    )
    parser.add_argument(
        "--weights", metavar="FILE", type=Path, help="the network's weights, .safetensors or released .pth"
    )
    parser.add_argument(
        "--clip",
        metavar="KEY=VALUE",
        nargs="+",
        default=[],
        help="what to see of a video, where not as the file says: frames=16 interval=5 sampling=uniform decoder=pyav",
    )
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto")


def read_model_arguments(args: argparse.Namespace) -> tuple[Classifier, ClipSpec]:
    """Return the classifier that the arguments name, and what it sees of a video."""
    import json

    from tctrack.action.checkpoint import load_classifier
    from tctrack.action.clips import ClipSpec
    from tctrack.config import build, parse_yaml
    from tctrack.errors import ConfigError

    classifier = load_classifier(args.model, args.weights, args.device)
    clip = json.loads(classifier.metadata.get("clip", "{}"))
    for item in args.clip:
        key, separator, value = item.partition("=")
        if not separator:
            raise ConfigError(f"--clip {item} must look like KEY=VALUE")
        clip[key] = parse_yaml(value, f"--clip {item}")
    return classifier, build(ClipSpec, clip, "clip.")


def print_accuracy(scores: Accuracy) -> None:
    """Print the accuracy of every label."""
    for name in scores.top1:
        print(f"{name:8} top-1 {100 * scores.top1[name]:6.2f}  top-5 {100 * scores.top5[name]:6.2f}")
    print(f"{scores.videos} videos, {scores.skipped} skipped (unreadable or too short)")
