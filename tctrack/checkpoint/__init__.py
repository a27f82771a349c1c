"""Checkpoints: safetensors with metadata, and safe reading of .pth files.

Networks of this library are loaded by :mod:`tctrack.checkpoint.load`, released weights by
:mod:`tctrack.checkpoint.convert`; importing this package alone imports no network.
"""

from tctrack.checkpoint.io import (
    Checkpoint,
    check_finite,
    fill,
    pick_device,
    read_checkpoint,
    write_checkpoint,
    write_state,
)

__all__ = ["Checkpoint", "check_finite", "fill", "pick_device", "read_checkpoint", "write_checkpoint", "write_state"]
