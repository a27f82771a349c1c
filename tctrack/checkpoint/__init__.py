"""Checkpoints: safetensors with metadata, safe reading of .pth files, and the released weights."""

from __future__ import annotations

from tctrack.checkpoint.convert import Conversion, convert_released
from tctrack.checkpoint.io import Checkpoint, read_checkpoint, write_checkpoint
from tctrack.checkpoint.load import convert_file, load_model, pick_device, save_model

__all__ = [
    "Checkpoint",
    "Conversion",
    "convert_file",
    "convert_released",
    "load_model",
    "pick_device",
    "read_checkpoint",
    "save_model",
    "write_checkpoint",
]
