"""Files of video classifiers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tctrack.action import BACKBONES, ActionModel, build_action_model
from tctrack.checkpoint import fill, pick_device
from tctrack.checkpoint.io import Checkpoint, read_checkpoint, write_checkpoint
from tctrack.errors import CheckpointError, ConfigError, suggest


class Classifier(NamedTuple):
    """A trained video classifier and the metadata of its file."""

    model: ActionModel
    metadata: dict[str, str]

    @property
    def classes(self) -> list[str] | None:
        """Names of the classes, label after label, where the file has them."""
        names = self.metadata.get("classes")
        return None if names is None else [str(name) for name in json.loads(names)]


def load_classifier(name: str | Path, weights: str | Path | None = None, device: str = "cpu") -> Classifier:
    """Load a trained video classifier in evaluation mode.

    Args:
        name: a network (``tada2d_r50``, …), or a file of :func:`save_classifier`, which names its own.
        weights: the network's weights: a .safetensors file, or a released .pth file.
        device: ``cpu``, ``cuda``, …, or ``auto``.

    Raises:
        CheckpointError: there is no such network or file, or the file is damaged or does not fit the network.
        DependencyError: the device is not there.
    """
    name, place = str(name), pick_device(device)
    if weights is None and name in BACKBONES:
        raise CheckpointError(
            f"'{name}' has no shipped weights; pass weights=FILE (.safetensors or released .pth), or train it on a list"
            " of lines 'video class': tctrack train-action --config action/tada2d_r50_kinetics400"
            f" model={name} num_classes=[5] train.path=train.txt"
        )
    if name not in BACKBONES and (weights is not None or not Path(name).exists()):
        raise CheckpointError(f"no video classifier or checkpoint '{name}'{suggest(name, BACKBONES)}")
    path = Path(name if weights is None else weights)
    tensors, metadata = read_checkpoint(path)
    architecture = metadata.get("architecture", name)
    if weights is not None and architecture != name:
        raise CheckpointError(f"checkpoint '{path}' holds '{architecture}', not '{name}'; load it as '{architecture}'")
    if architecture not in BACKBONES:
        raise CheckpointError(
            f"checkpoint '{path}' names no video classifier; pass its network too (--model, --weights)"
        )
    if "head.out.weight" not in tensors:
        raise CheckpointError(
            f"checkpoint '{path}' has no classifier ('head.out.weight'); it is not a video classifier"
        )
    try:
        classes = json.loads(metadata.get("num_classes", "null")) or len(tensors["head.out.weight"])
        model = build_action_model(architecture, classes)
    except (ConfigError, ValueError) as error:
        raise CheckpointError(f"checkpoint '{path}' describes a network that cannot be built: {error}") from None
    fill(model, tensors, path)
    return Classifier(model.to(place).eval(), metadata)


def save_classifier(
    path: str | Path,
    name: str,
    model: ActionModel,
    *,
    clip: Mapping[str, object],
    classes: Sequence[str] | None = None,
) -> None:
    """Write a classifier so that :func:`load_classifier` can read it.

    Args:
        path: the .safetensors file.
        name: the network's name.
        model: the network.
        clip: what it sees of a video, the fields of :class:`tctrack.action.clips.ClipSpec`.
        classes: names of the classes, label after label.

    Raises:
        OutputError: the file cannot be written.
    """
    about = {"architecture": name, "num_classes": json.dumps(model.num_classes), "clip": json.dumps(dict(clip))}
    if classes is not None:
        about["classes"] = json.dumps(list(classes))
    write_checkpoint(path, Checkpoint(model.state_dict(), about))
