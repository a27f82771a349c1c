"""Train a video classifier.

Reads a configuration, changes it by `key=value` overrides, and trains on the videos of a list file: lines `video label`
or the official .csv of Kinetics-400, the .json of Something-Something-V2, the .csv of Epic-Kitchens-100 (`train.kind`).
A run found in `out` is resumed. Under torchrun, the processes share the batches. Where the configuration names a list
`test.path`, the result is tested on it.

Examples:
    tctrack train-action --config action/tada2d_r50_kinetics400 train.path=train.csv out=runs/k400
    tctrack train-action --config action/tada2d_r50_ssv2 train.path=train.json train.root=videos test.path=val.json
    torchrun --nproc-per-node 8 -m tctrack train-action --config action/tada2d_r50_kinetics400 train.path=train.csv
"""

from __future__ import annotations

import argparse

from tctrack.cli.classifier import print_accuracy


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("--config", metavar="FILE", required=True, help="YAML file, or a shipped one: action/NAME")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="changes of the configuration")


def run(args: argparse.Namespace) -> int:
    """Train, and test where a list for that is named."""
    import logging

    from tctrack.action.checkpoint import load_classifier
    from tctrack.action.training import ActionTrainConfig, evaluate_classifier, train_classifier
    from tctrack.config import build, load_config
    from tctrack.plumbing.processes import is_first

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    config = build(ActionTrainConfig, load_config(args.config, args.overrides))
    weights = train_classifier(config)
    if not is_first():
        return 0
    print(f"wrote {weights}")
    if config.test is not None:
        model = load_classifier(weights, device=config.device).model
        scores = evaluate_classifier(
            model, config.test, config.clip, clips=config.test_clips, crops=config.test_crops, workers=config.workers
        )
        print_accuracy(scores)
    return 0
