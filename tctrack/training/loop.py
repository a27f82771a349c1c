"""Training, readable from top to bottom.

One loop trains every network; what differs between them is in :mod:`tctrack.training.recipes`. Several processes
(``torchrun``) share every batch and take the same steps as one process with the whole batch.
"""

from __future__ import annotations

import copy
import dataclasses
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from tctrack.checkpoint.load import save_model
from tctrack.config import Count, Positive, Share, Threads, Whole, Workers
from tctrack.errors import ConfigError
from tctrack.files import check_outputs, make_folder
from tctrack.models.base import ModelConfig, TrackingModel
from tctrack.ops.fold import fold_batch_norms
from tctrack.plumbing.batches import load_batches
from tctrack.plumbing.checkpoint import RunCheckpoint
from tctrack.plumbing.processes import Processes, is_first
from tctrack.plumbing.runlog import RunLog
from tctrack.plumbing.schedule import derive_seed, schedule
from tctrack.scenes.synthetic import Assets, SceneConfig
from tctrack.training.clips import Clip, ClipConfig, ClipDataset, PackTracks, SceneTracks, TrackSource
from tctrack.training.recipes import Batch, OptimConfig, Recipe, build_recipe
from tctrack.training.validation import TrackerBuilder, ValidationConfig, find_sequences, validate

#: Training ends after so many steps in a row without finite gradients.
MOST_FAILED = 50


@dataclass(frozen=True)
class DataConfig:
    """Where clips come from; every source is optional, since scenes can be painted from nothing."""

    root: Path | None = None
    """A crop pack of recorded tracks: what ``tctrack prepare`` wrote, or a folder with ``boxes.json``."""
    packs: dict[str, Positive] = field(default_factory=dict)
    """More crop packs, and the weight of each beside ``root``'s 1."""
    photos: tuple[Path, ...] = ()
    """Folders of photos, the ground of synthetic scenes."""
    cutouts: tuple[Path, ...] = ()
    """Folders of .png cut-outs with alpha, the objects of synthetic scenes."""
    polygons: tuple[Path, ...] = ()
    """Folders with ``images/`` and ``polygons/`` (YOLO instance polygons): grounds and objects."""
    recorded_share: Share = 0.5
    """Share of clips from the crop packs, when there are any; the rest is synthetic."""
    stills: Share = 0.3
    """Share of single images among the recorded clips."""
    distinct: Count | None = None
    """Number of different clips, which come again and again; always new ones unless set."""
    grow: tuple[Whole, ...] = ()
    """Steps from which on clips are one search crop longer, up to ``clips.length``."""


@dataclass(frozen=True)
class TrainConfig:
    """A training run."""

    out: Path
    """Folder of checkpoints and logs; a run found there is resumed."""
    model: dict[str, Any] = field(default_factory=dict)
    """The network's ``name``, ``tctrack-lite`` unless given, and fields of its configuration."""
    data: DataConfig = field(default_factory=DataConfig)
    clips: ClipConfig = field(default_factory=ClipConfig)
    scene: SceneConfig = field(default_factory=SceneConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    initial: Path | None = None
    """Weights (.safetensors, .pth) to start from; without them tctrack-lite's trunk starts from shipped ones."""
    validation: ValidationConfig | None = None
    """Sequences to track now and then; the averaged weights that track best are kept in ``best.safetensors``."""
    precision: Literal["bfloat16", "float32"] = "bfloat16"
    """What the network computes in (automatic mixed precision, or not); weights are float32 in both."""
    tensorboard: bool = False
    """Also log to ``tensorboard/``."""
    device: str = "auto"
    workers: Workers = 1
    """Processes that prepare clips, for each process that trains."""
    threads: Threads | None = None
    """CPU threads of the network; all cores unless set."""
    seed: Whole = 0
    checkpoint_every: Count = 200
    log_every: Count = 20


@dataclass
class Progress:
    """How far a run is; with the weights, all that it needs to go on as if it had never stopped."""

    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    """Sums since the last row of the log, over the steps that were taken."""
    taken: int = 0
    skipped: int = 0
    best: float = -1.0
    """Highest success AUC in validation."""


def train(config: TrainConfig, build_tracker: TrackerBuilder | None = None) -> Path:
    """Train a network; return the file of the averaged weights, ready for ``load_model``.

    Args:
        config: what to train, on what, and how.
        build_tracker: makes a tracker of the network; validation needs it.

    Raises:
        ConfigError: the clips do not fit the model, the batch cannot be shared, or validation lacks ``build_tracker``.
        DatasetError: a data folder is missing or malformed.
        CheckpointError: the first weights do not fit, the run in ``out`` belongs to another model, or the weights are
            not finite any more.
        DependencyError: the device or TensorBoard is asked for and not there.
        TrackerError: a sequence to validate on cannot be read.
        OutputError: ``out`` cannot be written.
    """
    if config.validation is not None and build_tracker is None:
        raise ConfigError("validation tracks; give train() a build_tracker, or leave validation out")
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    with Processes(config.device) as processes:
        return _train(config, processes, build_tracker)


def _train(config: TrainConfig, processes: Processes, build_tracker: TrackerBuilder | None) -> Path:
    optim, device = config.optim, processes.device
    torch.manual_seed(config.seed)
    options = {"name": "tctrack-lite", **config.model}
    name = str(options.pop("name"))
    recipe = build_recipe(name, options, optim)
    model = recipe.model.to(device)
    _check(config, model.config, processes)
    weights, best = config.out / f"{name}.safetensors", config.out / "best.safetensors"
    check_outputs({f"out={config.out}": weights, "validation": best}, [config.initial])
    make_folder(config.out)
    dataset = _dataset(config)
    sequences = find_sequences(config.validation) if config.validation is not None else ()
    averaged = copy.deepcopy(model).eval().requires_grad_(False)
    optimizer = build_optimizer(recipe, optim)
    checkpoint = RunCheckpoint(config.out / "latest.pt", name, {"model": model, "averaged": averaged}, optimizer)
    progress = Progress(**checkpoint.restore())
    if not progress.step:
        recipe.initialise(config.initial)
        averaged.load_state_dict(model.state_dict())
    recipe.accelerate(getattr(torch, config.precision))
    processes.share_batch_norms(model)
    log = RunLog(config.out, progress.step, config.tensorboard) if is_first() else None

    size = optim.batch // (processes.count * optim.accumulate)
    order = range(progress.step * optim.batch, len(dataset))
    batches = load_batches(dataset, order, size, processes, config.workers, _collate)
    bar = tqdm(total=optim.steps, initial=progress.step, unit="step", desc="train", mininterval=2, disable=log is None)
    failed = 0
    seconds = timed = 0.0  # time and number of steps since the last row, without validation and checkpoints
    while progress.step < optim.steps:
        step, began = progress.step, time.monotonic()
        rate = learning_rate(optim, step)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["scale"]
            for parameter in group["params"]:
                parameter.requires_grad_(step >= group["start"])
        recipe.train_mode(step)

        parts = [next(batches).to(device) for _ in range(optim.accumulate)]
        torch.manual_seed(
            derive_seed(config.seed, step, processes.rank + 1)
        )  # of dropout; the loader may have drawn, too
        draws = _draws(recipe, config, step, processes)
        targets = [recipe.targets(part.boxes, draw) for part, draw in zip(parts, draws, strict=True)]
        # Normalised by the labels of the whole batch, the losses of its parts add up.
        normaliser = processes.sum(torch.stack([labels.normaliser for labels in targets]).sum(0))
        optimizer.zero_grad(set_to_none=True)
        values = torch.zeros((), device=device)
        for part, labels in zip(parts, targets, strict=True):
            with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
                outputs = recipe.run(part)
            losses = recipe.losses(outputs, labels, normaliser)
            torch.autograd.backward(losses.total)
            values = values + torch.stack(losses).detach()
        processes.sum_gradients(model.parameters())
        norm = nn.utils.clip_grad_norm_(model.parameters(), optim.clip_norm)
        values = processes.sum(values)

        progress.step = step = step + 1
        bar.update()
        failed = 0 if torch.isfinite(norm) else failed + 1
        if failed == MOST_FAILED:
            raise ConfigError(f"no gradient was finite in the last {failed} steps; lower optim.lr, and begin anew")
        if not failed:
            optimizer.step()
            _average(averaged, model, min(optim.ema, (1 + step) / (10 + step)))
            progress.taken += 1
            for loss, value in zip((*losses._fields, "norm"), (*values, norm), strict=True):
                progress.sums[loss] = progress.sums.get(loss, 0.0) + float(value)
        else:
            progress.skipped += 1

        seconds, timed = seconds + time.monotonic() - began, timed + 1
        if step % config.log_every == 0:
            row = {loss: round(value / progress.taken, 5) for loss, value in progress.sums.items()}
            bar.set_postfix({"loss": row.get("total")})
            if log is not None:
                speed = round(timed / seconds, 3)
                log.write(step, {"lr": rate, **row, "skipped": progress.skipped, "steps_per_s": speed})
            progress.sums, progress.taken, progress.skipped = {}, 0, 0
            seconds = timed = 0.0
        if log is not None and build_tracker is not None and _due(step, config.validation, optim.steps):
            scores = validate(fold_batch_norms(averaged), sequences, build_tracker)
            log.write(step, {"success_auc": scores.success_auc, "precision_20": scores.precision_20})
            if scores.success_auc > progress.best:
                progress.best = scores.success_auc
                _store(best, name, averaged, recipe, step)
        if log is not None and (step % config.checkpoint_every == 0 or step == optim.steps):
            checkpoint.save(dataclasses.asdict(progress))
    bar.close()
    if log is not None:
        _store(weights, name, averaged, recipe, progress.step)
    return weights


def learning_rate(config: OptimConfig, step: int) -> float:
    """Return the learning rate of a step."""
    at, end, decay = step + 1, config.final_lr, config.schedule
    return config.lr * schedule(at, config.steps, config.warmup, start=config.warmup_lr, end=end, decay=decay)


def build_optimizer(recipe: Recipe, config: OptimConfig) -> torch.optim.Optimizer:
    """Build the optimiser of what learns, and freeze the rest."""
    recipe.model.requires_grad_(False)
    groups = recipe.parameter_groups()
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, config.lr, momentum=0.9)
    return torch.optim.AdamW(groups, config.lr)


@torch.no_grad()
def _average(averaged: nn.Module, model: nn.Module, decay: float) -> None:
    for kept, value in zip(averaged.state_dict().values(), model.state_dict().values(), strict=True):
        if kept.is_floating_point():
            kept.lerp_(value, 1 - decay)
        else:
            kept.copy_(value)


def _check(config: TrainConfig, model: ModelConfig, processes: Processes) -> None:
    clips, optim = config.clips, config.optim
    for name in ("drift", "strides"):
        if not getattr(clips, name):
            raise ConfigError(f"clips.{name} is empty; give at least one number")
    if optim.schedule == "log" and optim.final_lr <= 0:
        raise ConfigError(f"optim.final_lr={optim.final_lr} has no logarithm; raise it, or set optim.schedule=cosine")
    if (clips.template_size, clips.search_size) != (model.template_size, model.search_size):
        raise ConfigError(
            "clips.template_size and clips.search_size must equal the model's, "
            f"{model.template_size} and {model.search_size}"
        )
    if clips.length - len(config.data.grow) < 2:
        raise ConfigError("clips need two search crops; raise clips.length, or name fewer steps in data.grow")
    shares = processes.count * optim.accumulate
    if optim.batch % shares:
        raise ConfigError(
            f"optim.batch={optim.batch} cannot be split over {processes.count} processes of "
            f"optim.accumulate={optim.accumulate} passes; make it a multiple of {shares}"
        )
    if optim.batch == shares == optim.accumulate and processes.device.type == "cpu":
        # With a single sample, PyTorch's batch norm on CPU confuses memory layouts and returns a wrong gradient.
        raise ConfigError("passes of one clip train wrongly on CPU; raise optim.batch, or lower optim.accumulate")


def _dataset(config: TrainConfig) -> ClipDataset:
    data, batch = config.data, config.optim.batch
    weights = {data.root: 1.0} if data.root else {}
    weights |= {Path(root).expanduser(): weight for root, weight in data.packs.items()}
    recorded = [(PackTracks(root, stills=data.stills), weight) for root, weight in weights.items()]
    share = data.recorded_share if recorded else 0.0
    sources: list[tuple[TrackSource, float]] = []
    if share < 1:
        if data.photos or data.cutouts or data.polygons:
            assets = Assets.from_folders(data.photos, data.cutouts, data.polygons, config.seed)
        else:
            assets = Assets.procedural(config.seed, grounds=12, sprites=96)
        sources.append((SceneTracks(assets, config.scene), 1 - share))
    sources += [(pack, share * weight / sum(weights.values())) for pack, weight in recorded]
    grow = [step * batch for step in data.grow]
    return ClipDataset(sources, config.clips, config.optim.steps * batch, config.seed, grow, data.distinct)


def _collate(clips: list[Clip]) -> Batch:
    template, search, boxes, extent = (torch.from_numpy(np.stack(rows)) for rows in zip(*clips, strict=True))
    return Batch(template.permute(0, 3, 1, 2), search.permute(0, 1, 4, 2, 3), boxes, extent)


def _draws(recipe: Recipe, config: TrainConfig, step: int, processes: Processes) -> tuple[Tensor, ...]:
    """Return the random numbers of this process's labels, part by part; a clip's depend on the seed and its place."""
    optim = config.optim
    generator = torch.Generator().manual_seed(derive_seed(config.seed, step))
    draws = torch.rand(optim.batch, *recipe.draws, generator=generator)[processes.rank :: processes.count]
    return draws.to(processes.device).chunk(optim.accumulate)


def _due(step: int, validation: ValidationConfig | None, steps: int) -> bool:
    return validation is not None and (step % validation.every == 0 or step == steps)


def _store(path: Path, name: str, averaged: TrackingModel, recipe: Recipe, step: int) -> None:
    save_model(path, name, copy.deepcopy(averaged).to(recipe.stored), {"steps": str(step)})
