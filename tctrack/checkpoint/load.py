"""From files to networks and back."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Mapping
from pathlib import Path

from tctrack.checkpoint.convert import Conversion, convert_released
from tctrack.checkpoint.io import Checkpoint, fill, pick_device, read_checkpoint, write_checkpoint
from tctrack.errors import CheckpointError, ConfigError, suggest
from tctrack.files import SHIPPED, check_shipped
from tctrack.models.base import TrackingModel
from tctrack.models.build import MODELS, build_model

log = logging.getLogger(__name__)

#: Fields that older files of a network leave out, since they had but one value.
_UNSAID = {"tctrack-lite": {"trunk": "efficientnet-lite0"}}


def load_model(name: str | Path, weights: str | Path | None = None, device: str = "cpu") -> TrackingModel:
    """Load a trained network for tracking.

    Args:
        name: a registered network (``tctrack-lite``, ``tctrack``, ``tctrack++``), or a checkpoint that names its own.
        weights: a .safetensors file, or a released .pth file; None for the shipped weights.
        device: ``cpu``, ``cuda``, …, or ``auto`` for the fastest one there is.

    Returns:
        the network in evaluation mode, float32, without gradients: its state in a stream stays of one size.

    Raises:
        CheckpointError: there is no such network or file, or the file is damaged or does not fit the network.
        DependencyError: the device is not there.
    """
    return load_network(name, weights, device)[1]


def load_network(name: str | Path, weights: str | Path | None = None, device: str = "cpu") -> tuple[str, TrackingModel]:
    """Return a network's name in the registry and the network, as :func:`load_model` loads it."""
    name = str(name)
    if name in MODELS:
        path = Path(weights) if weights is not None else SHIPPED / f"{name}.safetensors"
        if weights is None and not path.is_file():
            raise CheckpointError(f"'{name}' has no shipped weights; pass weights=FILE (.safetensors or released .pth)")
        if weights is None:
            check_shipped(path)
    elif weights is not None and Path(name).exists():
        raise CheckpointError(f"the checkpoint '{name}' holds its weights; leave the others, '{weights}', out")
    elif weights is not None or not Path(name).exists():
        raise CheckpointError(f"no model or checkpoint '{name}'{suggest(name, MODELS)}")
    else:
        path = Path(name)
    place = pick_device(device)
    (checkpoint, dropped), model = _restore(path)
    architecture = checkpoint.metadata["architecture"]
    if name in MODELS and architecture != name:
        raise CheckpointError(f"checkpoint '{path}' holds '{architecture}', not '{name}'; load it as '{architecture}'")
    if dropped:
        log.info("dropped unused keys of %s: %s", path, ", ".join(dropped))
    return architecture, model.to(place).eval().requires_grad_(False)


def save_model(path: str | Path, name: str, model: TrackingModel, metadata: Mapping[str, str] | None = None) -> None:
    """Write a network so that :func:`load_model` can read it.

    Args:
        path: the .safetensors file.
        name: the network's name in the registry.
        model: the network; its weights are stored in their own precision.
        metadata: more to say about it.

    Raises:
        OutputError: the file cannot be written.
    """
    config = json.dumps(dataclasses.asdict(model.config))  # type: ignore[call-overload]
    about = {**(metadata or {}), "architecture": name, "config": config}
    write_checkpoint(path, Checkpoint(model.state_dict(), about))


def convert_file(source: str | Path, out: str | Path) -> Conversion:
    """Turn a released checkpoint into a .safetensors file that names its architecture; return what it held.

    Raises:
        CheckpointError: the file is damaged, or does not fit the network whose keys it has.
        OutputError: the result cannot be written.
    """
    conversion, model = _restore(Path(source))
    metadata = conversion.checkpoint.metadata
    save_model(out, metadata["architecture"], model, metadata)
    return conversion


def _restore(path: Path) -> tuple[Conversion, TrackingModel]:
    """Build the network that a file describes and give it the file's weights, every one of them."""
    checkpoint = read_checkpoint(path)
    conversion = Conversion(checkpoint, ()) if "architecture" in checkpoint.metadata else convert_released(checkpoint)
    tensors, metadata = conversion.checkpoint
    try:
        name = metadata["architecture"]
        model = build_model(name, **{**_UNSAID.get(name, {}), **json.loads(metadata.get("config", "{}"))})
    except (ConfigError, TypeError, ValueError) as error:
        raise CheckpointError(f"checkpoint '{path}' describes a network that cannot be built: {error}") from None
    fill(model, tensors, path)
    return conversion, model
