"""Files of video classifiers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tctrack.action import ActionModel, build_action_model
from tctrack.checkpoint.io import Checkpoint, read_checkpoint, write_checkpoint
from tctrack.checkpoint.load import fill, pick_device
from tctrack.errors import CheckpointError, ConfigError


class Classifier(NamedTuple):
    """A trained video classifier and what its file says about it."""

    model: ActionModel
    metadata: dict[str, str]

    @property
    def classes(self) -> list[str] | None:
        """Names of the classes, label after label, where the file has them."""
        names = self.metadata.get("classes")
        return None if names is None else [str(name) for name in json.loads(names)]


def load_classifier(path: str | Path, name: str | None = None, device: str = "cpu") -> Classifier:
    """Load a trained video classifier in evaluation mode.

    Args:
        path: a .safetensors file of :func:`save_classifier`, or a released .pth file.
        name: the network's name, for a file that does not say it.
        device: ``cpu``, ``cuda``, …, or ``auto``.

    Raises:
        CheckpointError: the file is missing or damaged, or does not fit the network.
        DependencyError: the device is not there.
    """
    path, place = Path(path), pick_device(device)
    tensors, metadata = read_checkpoint(path)
    name = metadata.get("architecture", name)
    if name is None:
        raise CheckpointError(f"checkpoint '{path}' does not name its network; say which it is (--model)")
    if "head.out.weight" not in tensors:
        raise CheckpointError(
            f"checkpoint '{path}' has no classifier ('head.out.weight'); it is not a video classifier"
        )
    try:
        classes = json.loads(metadata.get("num_classes", "null")) or len(tensors["head.out.weight"])
        model = build_action_model(name, classes)
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
        clip: what it sees of a video, the fields of :class:`tctrack.data.action_clips.ClipSpec`.
        classes: names of the classes, label after label.

    Raises:
        OutputError: the file cannot be written.
    """
    about = {"architecture": name, "num_classes": json.dumps(model.num_classes), "clip": json.dumps(dict(clip))}
    if classes is not None:
        about["classes"] = json.dumps(list(classes))
    write_checkpoint(path, Checkpoint(model.state_dict(), about))
