"""Train a network that finds actions in long videos.

Trains a boundary-matching network (BMN) on the features that `tctrack features` wrote, detects the actions of the test
subset, writes `bmn.safetensors` and `results.json`, and prints the mAP at ActivityNet's tIoU thresholds.

Examples:
    tctrack train-localizer --config action/bmn_hacs annotations=HACS_segments.json features=features
"""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("--config", metavar="FILE", required=True, help="YAML file, or a shipped one: action/NAME")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="changes of the configuration")


def run(args: argparse.Namespace) -> int:
    """Train and test."""
    import logging

    from tctrack.action.localization import LocalizerConfig, train_localizer
    from tctrack.action.scores import ACTIVITYNET_TIOUS
    from tctrack.cli.eval_localization import print_table
    from tctrack.config import build, load_config

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    config = build(LocalizerConfig, load_config(args.config, args.overrides))
    print_table(ACTIVITYNET_TIOUS, train_localizer(config))
    print(f"wrote {config.out / 'bmn.safetensors'} and {config.out / 'results.json'}")
    return 0
