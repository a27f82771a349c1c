"""Files of weights, of any network: reading without running code, writing without leaving half a file."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from tctrack.errors import CheckpointError, DependencyError
from tctrack.files import write_bytes

#: Key of the metadata under which a file states the digest of its weights.
CHECKSUM = "sha256"


class Checkpoint(NamedTuple):
    """Weights by key, and what the file says about them."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str]


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a .safetensors file, or a PyTorch file that holds tensors and plain values only.

    Weights may sit under ``state_dict`` or ``model_state``, and their keys may start with ``module.``; the plain values
    beside them become metadata.

    Raises:
        CheckpointError: the file is missing, damaged, would run code, or holds no weights or some that are not finite.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"no checkpoint '{path}'; give a .safetensors or .pth file")
    try:
        content, metadata = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    except CheckpointError:
        raise
    except Exception as error:  # a damaged file can raise almost anything, in zip, pickle or tensor code
        raise CheckpointError(f"cannot read checkpoint '{path}' ({type(error).__name__}); fetch it again") from None
    tensors = {str(key).removeprefix("module."): value for key, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise CheckpointError(f"checkpoint '{path}' holds no weights; give a file with a state dict")
    for key, value in tensors.items():
        if value.layout is not torch.strided or value.is_quantized or value.is_meta:
            raise CheckpointError(
                f"checkpoint '{path}': the weight '{key}' is sparse, quantized or a stub; save it plain"
            )
    if metadata.pop(CHECKSUM, None) not in (None, digest(tensors)):
        raise CheckpointError(f"checkpoint '{path}' is damaged, by its checksum; fetch it again")
    check_finite(tensors, f"checkpoint '{path}'")
    return Checkpoint(tensors, metadata)


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of weights: of their keys, types, shapes and values, in the order of the keys."""
    total = hashlib.sha256()
    for key in sorted(tensors):
        value = tensors[key].detach().cpu().contiguous()
        total.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode())
        total.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def check_finite(tensors: Mapping[str, Tensor], what: str) -> None:
    """Refuse weights with NaN or infinity.

    Raises:
        CheckpointError: there is one; ``what`` names the weights.
    """
    for key, value in tensors.items():
        if value.is_floating_point() and not torch.isfinite(value.float()).all():
            raise CheckpointError(f"{what} has a weight that is not finite, '{key}'; it is damaged, or badly trained")


def write_checkpoint(path: str | Path, checkpoint: Checkpoint) -> None:
    """Write a .safetensors file with its checksum, whole or not at all; the same content gives the same bytes.

    Raises:
        CheckpointError: a weight is not finite.
        OutputError: the file cannot be written.
    """
    tensors = {key: value.detach().cpu().contiguous() for key, value in checkpoint.tensors.items()}
    check_finite(tensors, f"what was to be written to '{path}'")
    write_bytes(path, _sorted_header(save(tensors, {**checkpoint.metadata, CHECKSUM: digest(tensors)})))


def write_state(path: Path, content: Mapping[str, Any]) -> None:
    """Write what a training run needs to go on: tensors and plain values, as PyTorch's file.

    Raises:
        OutputError: the file cannot be written.
    """
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_bytes(path, buffer.getbuffer())


def fill(model: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Give a network the weights of the file ``path``, every one of them.

    Raises:
        CheckpointError: a weight is missing, unknown, or of another shape.
    """
    expected = model.state_dict()
    for key, value in expected.items():
        if key not in tensors:
            raise CheckpointError(f"checkpoint '{path}' lacks the weight '{key}'; it may be of another version")
        if tensors[key].shape != value.shape:
            found, wanted = tuple(tensors[key].shape), tuple(value.shape)
            raise CheckpointError(f"checkpoint '{path}': the shape of '{key}' is {found}, not {wanted}")
    for key in tensors.keys() - expected.keys():
        raise CheckpointError(f"checkpoint '{path}' has an unknown weight '{key}'; it may be of another version")
    model.load_state_dict(tensors)


def pick_device(name: str) -> torch.device:
    """Return a device by name; ``auto`` is CUDA where there is one, else the CPU.

    Raises:
        DependencyError: the device is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError, NotImplementedError):  # torch raises any of them, by its build
        raise DependencyError(f"there is no device '{name}' here; use cpu or auto") from None


def _split(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the header of a .safetensors file, and the tensors behind it."""
    start = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:start]), data[start:]


def _sorted_header(data: bytes) -> bytes:
    """Sort the header of a .safetensors file, in which the library leaves the metadata in an order of chance."""
    content, tensors = _split(data)
    header = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + tensors


def _read_safetensors(path: Path) -> tuple[Mapping[str, Any], dict[str, str]]:
    data = path.read_bytes()  # reading from a file, the library turns Ctrl-C into an error of its own
    return load(data), _split(data)[0].get("__metadata__", {})


def _read_pickle(path: Path) -> tuple[Mapping[str, Any], dict[str, str]]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise CheckpointError(
            f"checkpoint '{path}' is damaged, or holds more than tensors and plain values, which could run code; "
            "save its state dict alone"
        ) from None
    if not isinstance(content, Mapping):
        return {}, {}
    nested = content.get("state_dict", content.get("model_state"))
    if not isinstance(nested, Mapping):
        return content, {}
    plain = {key: value for key, value in content.items() if isinstance(value, (str, int, float))}
    return nested, {str(key): value if isinstance(value, str) else json.dumps(value) for key, value in plain.items()}
