"""Ablate the temporal parts: train tctrack-lite without and with them, and score each on the development set.

Every variant has the same recipe and budget (configs/train/ablation.yaml); key=value pairs override it. A variant that
is already trained is not trained again.

python tools/ablation.py data.root=CROPS data.photos=[PHOTOS] data.cutouts=[CUTOUTS] data.polygons=[COCO] --seeds 1 2 3
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from devset import development_set

from tctrack import load_model
from tctrack.benchmark.metrics import mean_scores
from tctrack.benchmark.run import score_trackers
from tctrack.checkpoint import read_checkpoint
from tctrack.cli.selection import add_launch_arguments, make_launcher, parse_trackers
from tctrack.config import build, load_config
from tctrack.errors import ConfigError, TCTrackError
from tctrack.ops.fold import fold_batch_norms
from tctrack.training.loop import TrainConfig, train

VARIANTS: dict[str, dict[str, Any]] = {
    "plain convolutions": {"adaptive_blocks": [], "use_memory": False},
    "Online-TAdaConv": {"use_memory": False},
    "Online-TAdaConv and memory": {},
}


def train_variant(name: str, seed: int, overrides: list[str]) -> Path:
    config = load_config("train/ablation", [*overrides, f"seed={seed}"])
    config["model"] = {**config.get("model", {}), **VARIANTS[name]}
    config["out"] = str(Path(config["out"]) / f"{name.replace(' ', '_')}_{seed}")
    settings = build(TrainConfig, config)
    weights = settings.out / "tctrack-lite.safetensors"
    if not weights.is_file():
        return train(settings)
    if read_checkpoint(weights).metadata["steps"] != str(settings.optim.steps):
        raise ConfigError(f"'{weights}' took another number of steps; remove it, or set another out=")
    return weights


@torch.inference_mode()
def step_cost(weights: Path, repeat: int = 50) -> float:
    """Return the median time of a step in milliseconds, on one thread."""
    torch.set_num_threads(1)
    network = fold_batch_norms(load_model("tctrack-lite", weights))
    search = torch.rand(1, 3, 256, 256) * 255
    state = network.start(torch.rand(1, 3, 128, 128) * 255, search)
    times = []
    for _ in range(repeat):
        began = time.perf_counter()
        network.step(search, state)
        times.append(time.perf_counter() - began)
    return 1e3 * statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="override a key of the configuration")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], metavar="N", help="default: 1")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), metavar="DIR", help="development set")
    add_launch_arguments(parser)
    try:
        run(parser.parse_args())
    except TCTrackError as error:
        parser.exit(2, f"error: {error}\n")


def run(args: argparse.Namespace) -> None:
    trained = {
        f"{name}, seed {seed}": train_variant(name, seed, args.overrides) for name in VARIANTS for seed in args.seeds
    }
    specs = [f"tctrack-lite,weights={path},label={index}" for index, path in enumerate(trained.values())]
    scores = score_trackers(parse_trackers(specs), development_set(args.data), make_launcher(args))
    print(f"torch {torch.__version__}\n")
    print("| variant | success AUC | precision@20 | parameters | step |\n|---|---|---|---|---|")
    for (name, path), by_sequence in zip(trained.items(), scores.values(), strict=True):
        mean = mean_scores(by_sequence.values())
        size = sum(parameter.numel() for parameter in load_model("tctrack-lite", path).parameters()) / 1e6
        cost = step_cost(path)
        print(f"| {name} | {mean.success_auc:.3f} | {mean.precision_20:.3f} | {size:.2f} M | {cost:.1f} ms |")


if __name__ == "__main__":
    main()
