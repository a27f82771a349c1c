"""Train a tracker.

A configuration is a YAML file or the name of a shipped one; key=value pairs override it. The run keeps its checkpoint
and its log (log.jsonl) in the folder 'out' and resumes from there; when it is done, out/NAME.safetensors can be tracked
with. Without any data folder it trains on painted scenes alone. tctrack-lite's trunk starts from the shipped
weights. Under torchrun, the processes share every batch.

Examples:
  tctrack train --config train/lite
  tctrack train --config train/lite data.root=crops data.photos=[photos] optim.steps=8000 out=runs/long
  tctrack train --config train/lite 'validation={every: 500, sets: [{dataset: GOT-10k-val, root: got10k}]}'
  torchrun --nproc-per-node 2 -m tctrack train --config train/tctrack data.root=crops initial=trunk.pth
  tctrack track video.mp4 --weights runs/lite/tctrack-lite.safetensors
"""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("--config", default="train/lite", help="YAML file or shipped name (default: %(default)s)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="override a key, for example optim.lr=5e-4")


def run(args: argparse.Namespace) -> int:
    """Train until done."""
    from tctrack.config import build, load_config
    from tctrack.plumbing.processes import is_first
    from tctrack.training.loop import TrainConfig, train
    from trackers.siamese import build_siamese

    weights = train(build(TrainConfig, load_config(args.config, args.overrides)), build_siamese)
    if is_first():
        print(weights)
    return 0
