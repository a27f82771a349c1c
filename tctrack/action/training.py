"""Training and testing video classifiers."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from tctrack.action import ActionModel, build_action_model
from tctrack.action.checkpoint import save_classifier
from tctrack.action.clips import ActionClips, ClipSpec, video_views
from tctrack.action.inflate import inflate
from tctrack.action.lists import Example, read_list
from tctrack.checkpoint import read_checkpoint
from tctrack.config import Amount, Bounds, Count, Factor, LearningRate, Positive, Share, Whole, Workers
from tctrack.errors import ConfigError, DatasetError
from tctrack.files import check_outputs, make_folder
from tctrack.plumbing.batches import load_batches
from tctrack.plumbing.checkpoint import RunCheckpoint
from tctrack.plumbing.processes import Processes, is_first
from tctrack.plumbing.runlog import RunLog
from tctrack.plumbing.schedule import derive_seed, schedule

log = logging.getLogger(__name__)
Classes = Annotated[int, Bounds(1, 1_000_000)]


@dataclass(frozen=True)
class ListConfig:
    """A list of labelled videos."""

    path: Path
    """The list file."""
    kind: Literal["kinetics", "ssv2", "epic"] = "kinetics"
    root: Path | None = None
    """Folder of the videos; the list's own unless set."""


@dataclass(frozen=True)
class ActionTrainConfig:
    """A training run of a video classifier."""

    out: Path
    """Folder of checkpoints; a run found there is resumed."""
    model: str
    """Name of the network."""
    train: ListConfig
    test: ListConfig | None = None
    """The list to test on after training."""
    num_classes: tuple[Classes, ...] = (400,)
    """Classes of every label; Epic-Kitchens has verbs and nouns: [97, 300]."""
    classes: tuple[str, ...] | None = None
    """Names of the classes, label after label, to be stored with the weights."""
    clip: ClipSpec = field(default_factory=ClipSpec)
    image_weights: Path | None = None
    """Weights of an image network to start from."""
    dropout: Share = 0.5
    epochs: Count = 64
    batch: Count = 8
    """Clips in a step of one process."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: LearningRate = 0.02
    """Highest learning rate, for the batches of all processes together."""
    warmup: Amount = 8.0
    """Epochs of linear warm-up; a half cosine to zero follows."""
    weight_decay: Factor = 1e-4
    clip_norm: Positive = 20.0
    mixup: Amount = 0.0
    """Parameter of mixup's beta distribution; 0 for none."""
    label_smoothing: Share = 0.0
    test_clips: Count = 10
    test_crops: Count = 3
    device: str = "auto"
    workers: Workers = 2
    seed: Whole = 0


class Accuracy(NamedTuple):
    """Top-1 and top-5 accuracy by the name of the label; ``skipped`` videos could not be read."""

    top1: dict[str, float]
    top5: dict[str, float]
    videos: int
    skipped: int


def train_classifier(config: ActionTrainConfig) -> Path:
    """Train a classifier, on all processes that torchrun started; return the file of its weights.

    Raises:
        ConfigError: no such network, or the lists' classes exceed ``num_classes``.
        DatasetError: a list is missing or malformed, or its videos cannot be read.
        CheckpointError: the run in ``out`` belongs to another network.
        OutputError: ``out`` cannot be written.
    """
    torch.manual_seed(config.seed)
    with Processes(config.device) as processes:
        return _train(config, processes)


def _train(config: ActionTrainConfig, processes: Processes) -> Path:
    device = processes.device
    result = config.out / "model.safetensors"
    check_outputs({f"out={config.out}": result}, [config.image_weights])
    make_folder(config.out)
    examples = read_list(config.train.path, config.train.root, config.train.kind)
    _check_labels([example.labels for example in examples], config.num_classes)
    dataset = ActionClips(examples, config.clip, train=True, seed=config.seed)
    steps = len(dataset) // (config.batch * processes.count)
    if not steps:
        needed = f"batch={config.batch}" + (f" for each of {processes.count} processes" if processes.count > 1 else "")
        raise DatasetError(f"list '{config.train.path}' has fewer videos than {needed}")

    model = build_action_model(config.model, config.num_classes, dropout=config.dropout)
    if config.image_weights is not None:
        inflate(model, read_checkpoint(config.image_weights).tensors)
    model.to(device)
    groups = _decay_groups(model, config.weight_decay)
    optimizer: torch.optim.Optimizer = (
        torch.optim.AdamW(groups, config.lr)
        if config.optimizer == "adamw"
        else torch.optim.SGD(groups, config.lr, momentum=0.9, nesterov=True)
    )
    checkpoint = RunCheckpoint(config.out / "latest.pt", config.model, {"model": model}, optimizer)
    first = checkpoint.restore().get("epoch", 0)
    runlog = RunLog(config.out, first * steps) if is_first() else None

    for epoch in range(first, config.epochs):
        dataset.set_epoch(epoch)
        order = np.random.default_rng((config.seed, epoch)).permutation(len(dataset)).tolist()
        batches = load_batches(dataset, order, config.batch, processes, config.workers)
        torch.manual_seed(derive_seed(config.seed, epoch, processes.rank + 1))
        rng = np.random.default_rng((config.seed, epoch, processes.rank + 1))
        model.train()
        total, skipped = 0.0, 0
        bar = tqdm(batches, f"epoch {epoch + 1}/{config.epochs}", steps, disable=runlog is None, mininterval=2)
        for step, (views, labels, passed_over) in enumerate(bar):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(config, epoch + step / steps)
            clips, labels = views[:, 0].to(device), labels.to(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                loss = _loss(model, clips, labels, config, rng)
            optimizer.zero_grad()
            torch.autograd.backward(loss / processes.count)
            processes.sum_gradients(model.parameters())
            nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
            optimizer.step()
            total, skipped = total + loss.item(), skipped + int(passed_over.sum())
            bar.set_postfix(loss=f"{total / (step + 1):.3f}")
        if runlog is not None:
            runlog.write((epoch + 1) * steps, {"epoch": epoch + 1, "loss": total / steps, "unreadable": skipped})
            checkpoint.save({"epoch": epoch + 1})
            log.info("epoch %d: loss %.4f, %d unreadable videos", epoch + 1, total / steps, skipped)

    if runlog is not None:
        save_classifier(result, config.model, model, clip=dataclasses.asdict(config.clip), classes=config.classes)
    return result


def learning_rate(config: ActionTrainConfig, epoch: float) -> float:
    """Return the learning rate at a (fractional) epoch: linear warm-up, then a half cosine to zero."""
    return config.lr * schedule(epoch, config.epochs, config.warmup, start=0.01)


def evaluate_classifier(
    model: ActionModel, source: ListConfig, spec: ClipSpec, *, clips: int = 10, crops: int = 3, workers: int = 2
) -> Accuracy:
    """Average the probabilities over the views of every video and count correct classes.

    A video with two labels, verb and noun, also has an action: right where both are, and ranked by their product.

    Raises:
        DatasetError: the list is missing or malformed, or none of its videos can be read.
    """
    examples = read_list(source.path, source.root, source.kind)
    _check_labels([example.labels for example in examples], model.num_classes)
    dataset = ActionClips(examples, spec, train=False, clips=clips, crops=crops)
    device = next(model.parameters()).device
    hits: dict[str, list[tuple[bool, bool]]] = {}
    skipped = 0
    model.eval()
    for views, labels, unreadable in tqdm(DataLoader(dataset, None, num_workers=workers), mininterval=2, desc="test"):
        skipped += int(unreadable)
        if unreadable:
            continue
        probabilities = classify_views(model, views.to(device))
        for name, scores, label in _tasks(probabilities, labels.tolist()):
            ranked = scores.topk(min(5, len(scores))).indices.tolist()
            hits.setdefault(name, []).append((ranked[0] == label, label in ranked))
    if not hits:
        raise DatasetError(f"none of the {len(examples)} videos of '{source.path}' can be read")
    top1, top5 = ({name: float(np.mean([hit[n] for hit in found])) for name, found in hits.items()} for n in (0, 1))
    return Accuracy(top1, top5, len(examples) - skipped, skipped)


def classify_video(model: ActionModel, path: Path, spec: ClipSpec, *, clips: int = 4) -> list[Tensor]:
    """Return the probabilities ``(classes,)`` of every label of a video, averaged over clips spread over it.

    Raises:
        DatasetError: the video cannot be read, or is shorter than a clip.
    """
    views = video_views(Example(path, ()), spec, clips=clips)
    return classify_views(model, views.to(next(model.parameters()).device))


def classify_views(model: ActionModel, views: Tensor) -> list[Tensor]:
    """Return the probabilities ``(classes,)`` of every label, averaged over the views ``(views, 3, T, S, S)``."""
    with torch.inference_mode():
        logits = torch.cat([model(view[None]) for view in views])
    return [part.softmax(1).mean(0) for part in torch.split(logits, list(model.num_classes), 1)]


def _tasks(probabilities: Sequence[Tensor], labels: Sequence[int]) -> list[tuple[str, Tensor, int]]:
    if len(probabilities) == 1:
        return [("class", probabilities[0], labels[0])]
    verb, noun = probabilities
    action = torch.outer(verb, noun).flatten()
    return [("verb", verb, labels[0]), ("noun", noun, labels[1]), ("action", action, labels[0] * len(noun) + labels[1])]


def _loss(
    model: nn.Module, clips: Tensor, labels: Tensor, config: ActionTrainConfig, rng: np.random.Generator
) -> Tensor:
    """Return the mean cross entropy over the labels ``(B, L)``; mixup blends every clip with another of the batch."""
    share, other = 1.0, labels
    if config.mixup:
        share = float(rng.beta(config.mixup, config.mixup))
        clips, other = share * clips + (1 - share) * clips.flip(0), labels.flip(0)
    loss = clips.new_zeros(())
    for n, logits in enumerate(torch.split(model(clips), list(config.num_classes), 1)):
        for weight, target in ((share, labels[:, n]), (1 - share, other[:, n])):
            if weight:
                loss = loss + weight * F.cross_entropy(logits, target, label_smoothing=config.label_smoothing)
    return loss / len(config.num_classes)


def _decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Keep norms and biases free from weight decay."""
    kernels = [parameter for parameter in model.parameters() if parameter.dim() > 1]
    rest = [parameter for parameter in model.parameters() if parameter.dim() <= 1]
    return [{"params": kernels, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]


def _check_labels(labels: Sequence[tuple[int, ...]], num_classes: tuple[int, ...]) -> None:
    if len(labels[0]) != len(num_classes):
        raise ConfigError(
            f"the list has {len(labels[0])} labels per video, num_classes={list(num_classes)} has {len(num_classes)}"
        )
    for n, classes in enumerate(num_classes):
        highest = max(label[n] for label in labels)
        if highest >= classes:
            raise ConfigError(f"the list has class {highest}, but num_classes={list(num_classes)} ends before it")
