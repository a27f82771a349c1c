"""Finding actions in long videos: clip features, and training and running BMN on them (arXiv 1907.09702)."""

from __future__ import annotations

import dataclasses
import io
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tctrack.action import ActionModel
from tctrack.action.bmn import BMN, BMNConfig, BMNOutput
from tctrack.action.clips import ClipSpec, square_crops, to_clip
from tctrack.action.decoding import count_frames, read_frames
from tctrack.action.scores import ACTIVITYNET_TIOUS, mean_average_precision, temporal_iou
from tctrack.action.segments import Segment, read_annotations, read_durations, results_json
from tctrack.checkpoint import Checkpoint, pick_device, write_checkpoint
from tctrack.config import Count, Factor, LearningRate, Whole
from tctrack.errors import DatasetError, OutputError, require
from tctrack.files import check_outputs, write_bytes, write_text
from tctrack.types import FloatArray

log = logging.getLogger(__name__)


def extract_features(model: ActionModel, path: Path, spec: ClipSpec, *, stride: int = 16, batch: int = 8) -> FloatArray:
    """Return the features ``(N, dim)`` of a video's clips, of which one begins every ``stride`` frames.

    Raises:
        DatasetError: the video cannot be read, or is shorter than a clip.
    """
    total, _ = count_frames(path, spec.decoder)
    span = (spec.frames - 1) * spec.interval + 1
    if total < span:
        raise DatasetError(f"'{path}' has {total} frames; a clip spans {span}")
    starts = np.arange(0, total - span + 1, stride)
    device = next(model.parameters()).device
    features = []
    for first in range(0, len(starts), batch):
        numbers = starts[first : first + batch, None] + np.arange(spec.frames) * spec.interval
        needed, places = np.unique(numbers, return_inverse=True)
        frames = read_frames(path, needed, spec.decoder)
        clips = [
            square_crops(to_clip(frames[row], spec), spec.test_size, 1)[0] for row in places.reshape(numbers.shape)
        ]
        with torch.inference_mode():
            features.append(model.backbone(torch.stack(clips).to(device)).cpu().numpy())
    return np.concatenate(features)


def write_features(path: Path, features: FloatArray) -> None:
    """Write features ``(N, dim)`` as .npy, or as the data set ``features`` of an .h5 file.

    Raises:
        OutputError: the file cannot be written, or has another ending.
        DependencyError: h5py is not installed.
    """
    buffer = io.BytesIO()
    if path.suffix == ".npy":
        np.save(buffer, features)
    elif path.suffix == ".h5":
        with _h5py().File(buffer, "w") as file:
            file["features"] = features
    else:
        raise OutputError(f"cannot write '{path}': the name must end in .npy or .h5")
    write_bytes(path, buffer.getbuffer())


def read_features(path: Path) -> FloatArray:
    """Read features ``(N, dim)`` that :func:`write_features` wrote.

    Raises:
        DatasetError: the file cannot be read or has another shape.
        DependencyError: h5py is not installed.
    """
    try:
        if path.suffix == ".h5":
            with _h5py().File(path) as file:
                features = np.asarray(file["features"], np.float32)
        else:
            features = np.asarray(np.load(path), np.float32)
    except (OSError, ValueError, KeyError) as error:
        raise DatasetError(f"cannot read features '{path}' ({type(error).__name__}: {error})") from None
    if features.ndim != 2 or not len(features):
        raise DatasetError(f"features '{path}' have shape {features.shape}; (clips, channels) is wanted")
    return features


@dataclass(frozen=True)
class LocalizerConfig:
    """A training run of BMN."""

    out: Path
    """Folder of the weights and results."""
    annotations: Path
    """The .json file of ActivityNet or HACS."""
    features: Path
    """Folder of feature files, ``VIDEO.npy`` or ``VIDEO.h5``."""
    train_subset: str = "training"
    test_subset: str = "validation"
    model: BMNConfig = field(default_factory=BMNConfig)
    epochs: Count = 10
    batch: Count = 16
    lr: LearningRate = 1e-3
    weight_decay: Factor = 1e-4
    top_classes: Count = 2
    """Classes of a video that its proposals are reported with."""
    detections: Count = 100
    """Most detections of a video."""
    device: str = "auto"
    seed: Whole = 0


class Targets(NamedTuple):
    """Labels of a video for BMN."""

    start: Tensor  #: ``(L,)``
    end: Tensor  #: ``(L,)``
    overlap: Tensor  #: ``(D, L)`` best overlap of every proposal with a segment
    classes: Tensor  #: ``(classes,)``


def train_localizer(config: LocalizerConfig) -> FloatArray:
    """Train BMN, write ``bmn.safetensors`` and ``results.json``, and return the mAP at ActivityNet's thresholds.

    Videos without features are counted and left out.

    Raises:
        DatasetError: annotations or features are missing or malformed.
        OutputError: ``out`` cannot be written.
    """
    weights, results = config.out / "bmn.safetensors", config.out / "results.json"
    check_outputs({f"out={config.out}": weights, "the results": results}, [config.annotations])
    torch.manual_seed(config.seed)
    device = pick_device(config.device)
    everything = read_annotations(config.annotations)
    labels = sorted({segment.label for segment in everything})
    durations = read_durations(config.annotations)
    sets = []
    for subset in (config.train_subset, config.test_subset):
        grouped = _by_video(read_annotations(config.annotations, subset))
        sets.append((grouped, _load_features(config, grouped)))
    (train_truth, train_features), (test_truth, test_features) = sets
    shape = dataclasses.replace(
        config.model, features=len(next(iter(train_features.values()))), num_classes=len(labels)
    )
    model = BMN(shape).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), config.lr, weight_decay=config.weight_decay)
    videos = list(train_features)
    targets = {video: make_targets(train_truth[video], durations[video], labels, shape) for video in videos}
    for epoch in range(config.epochs):
        for group in optimizer.param_groups:
            group["lr"] = config.lr if epoch < 0.7 * config.epochs else 0.1 * config.lr
        order, total = torch.randperm(len(videos)).tolist(), 0.0
        for first in range(0, len(videos), config.batch):
            chosen = [videos[n] for n in order[first : first + config.batch]]
            inputs = torch.stack([train_features[video] for video in chosen]).to(device)
            wanted = Targets(
                *(torch.stack(part).to(device) for part in zip(*(targets[v] for v in chosen), strict=True))
            )
            loss = bmn_loss(model(inputs), wanted)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            total += loss.item() * len(chosen)
        log.info("epoch %d: loss %.4f", epoch + 1, total / len(videos))

    model.eval()
    found: list[Segment] = []
    for video, features in test_features.items():
        with torch.inference_mode():
            output = model(features[None].to(device))
        found += detect(output, video, durations[video], labels, config.top_classes, config.detections)
    write_text(results, results_json(found))
    about = {"architecture": "bmn", "config": json.dumps(dataclasses.asdict(shape)), "classes": json.dumps(labels)}
    write_checkpoint(weights, Checkpoint(model.state_dict(), about))
    truth = [segment for video in test_features for segment in test_truth[video]]
    return mean_average_precision(truth, found, ACTIVITYNET_TIOUS)


def make_targets(truth: list[Segment], duration: float, labels: list[str], config: BMNConfig) -> Targets:
    """Return the targets of a video; boundaries are a tenth of their segment wide, at least one position."""
    length = config.length
    spans = np.array([(segment.start, segment.stop) for segment in truth]).clip(0, duration) / duration * length
    positions = np.arange(length, dtype=np.float64)
    width = np.maximum(1.0, 0.1 * (spans[:, 1] - spans[:, 0]))
    boundaries = []
    for side in (0, 1):
        low, high = spans[:, side, None] - width[:, None] / 2, spans[:, side, None] + width[:, None] / 2
        inside = np.minimum(high, positions + 1) - np.maximum(low, positions)
        boundaries.append(torch.from_numpy(inside.clip(0, 1).max(0).astype(np.float32)))
    stops = positions + np.arange(1, config.durations + 1)[:, None]  # (D, L)
    overlap = np.max([temporal_iou(start, stop, positions, stops) for start, stop in spans], axis=0)
    overlap[stops > length] = 0
    classes = torch.zeros(len(labels))
    classes[[labels.index(segment.label) for segment in truth]] = 1
    return Targets(boundaries[0], boundaries[1], torch.from_numpy(overlap.astype(np.float32)), classes)


def bmn_loss(output: BMNOutput, targets: Targets) -> Tensor:
    """Return BMN's loss: boundaries + 10 × overlap regression + confidence, and the cross entropy of the classes."""
    durations, length = targets.overlap.shape[1:]
    extent = torch.arange(1, durations + 1, device=targets.overlap.device)
    inside = (extent[:, None] + torch.arange(length, device=extent.device) <= length).expand_as(targets.overlap)
    overlap = targets.overlap[inside]
    high, low = overlap > 0.7, overlap <= 0.3
    share = high.sum() / (~high & ~low).sum().clamp(min=1), high.sum() / low.sum().clamp(min=1)
    weight = torch.where(high, 1.0, torch.where(low, share[1].clamp(max=1), share[0].clamp(max=1)))
    regression = (weight * (output.regression[inside] - overlap).square()).sum() / weight.sum().clamp(min=1e-6) / 2
    boundaries = _balanced(output.start, targets.start > 0.5) + _balanced(output.end, targets.end > 0.5)
    confidence = _balanced(output.confidence[inside], overlap > 0.9)
    return boundaries + 10 * regression + confidence + F.binary_cross_entropy(output.classes, targets.classes)


def detect(
    output: BMNOutput, video: str, duration: float, labels: list[str], top_classes: int = 2, most: int = 100
) -> list[Segment]:
    """Return a video's detections (batch entry 0), best first, after soft non-maximum suppression."""
    start, end, regression, confidence, classes = (part[0].cpu().numpy() for part in output)
    length, durations = len(start), len(confidence)
    spans, scores = [], []
    for i in np.flatnonzero(_peaks(start)):
        for j in np.flatnonzero(_peaks(end)):
            d = j - i - 1
            if 0 <= d < durations:
                spans.append((i, j))
                scores.append(start[i] * end[j] * confidence[d, i] * regression[d, i])
    kept = _soft_nms(np.array(spans, float).reshape(-1, 2), np.array(scores, float), most)
    best = np.argsort(-classes)[:top_classes]
    found = [
        Segment(video, i / length * duration, j / length * duration, labels[c], score * float(classes[c]))
        for i, j, score in kept
        for c in best
    ]
    return sorted(found, key=lambda segment: -segment.score)[:most]


def _peaks(scores: FloatArray) -> FloatArray:
    padded = np.pad(scores, 1, constant_values=-1)
    peak = (scores > padded[:-2]) & (scores >= padded[2:])
    return np.asarray(peak | (scores > 0.5 * scores.max()))


def _soft_nms(spans: FloatArray, scores: FloatArray, most: int, sigma: float = 0.4) -> list[tuple[float, float, float]]:
    """Return ``(start, stop, score)`` of the best spans; each weakens those that it overlaps."""
    scores = scores.copy()
    kept: list[tuple[float, float, float]] = []
    while len(kept) < min(most, len(spans)):
        best = int(scores.argmax())
        kept.append((float(spans[best, 0]), float(spans[best, 1]), float(scores[best])))
        overlaps = temporal_iou(spans[best, 0], spans[best, 1], spans[:, 0], spans[:, 1])
        scores *= np.exp(-np.square(overlaps) / sigma)
        scores[best] = -np.inf
    return kept


def _balanced(probabilities: Tensor, positive: Tensor) -> Tensor:
    """Return the binary cross entropy in which positives and negatives weigh the same."""
    share = positive.float().mean().clamp(1e-4, 1 - 1e-4)
    weight = torch.where(positive, 0.5 / share, 0.5 / (1 - share))
    return F.binary_cross_entropy(probabilities, positive.float(), weight)


def _by_video(segments: list[Segment]) -> dict[str, list[Segment]]:
    grouped: dict[str, list[Segment]] = {}
    for segment in segments:
        grouped.setdefault(segment.video, []).append(segment)
    return grouped


def _load_features(config: LocalizerConfig, videos: Mapping[str, object]) -> dict[str, Tensor]:
    """Return the features ``(channels, L)`` of the videos that have them, resampled to the model's positions."""
    found = {}
    for video in videos:
        paths = [config.features / f"{video}{ending}" for ending in (".npy", ".h5")]
        path = next((path for path in paths if path.is_file()), None)
        if path is not None:
            features = torch.from_numpy(read_features(path)).T[None]
            found[video] = F.interpolate(features, config.model.length, mode="linear", align_corners=False)[0]
    if not found:
        raise DatasetError(f"no features of the annotated videos in '{config.features}'; make them: tctrack features")
    if len(found) < len(videos):
        log.info("%d of %d videos have no features and are left out", len(videos) - len(found), len(videos))
    return found


def _h5py() -> Any:
    return require("h5py", "action", "use .npy files")
