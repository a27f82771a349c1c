"""Engines that run a network's streaming step on arrays: ONNX Runtime (no torch), OpenVINO, and torch itself."""

from tctrack.engines.base import Engine, ModelInfo, State
from tctrack.engines.load import ENGINES, is_exported, load_engine

__all__ = ["ENGINES", "Engine", "ModelInfo", "State", "is_exported", "load_engine"]
