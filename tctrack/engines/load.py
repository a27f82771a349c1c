"""Engines by name, for networks by name or file."""

from __future__ import annotations

from pathlib import Path

from tctrack.engines.base import Engine
from tctrack.engines.onnx import runs_on_cuda
from tctrack.errors import ConfigError, DependencyError, suggest
from tctrack.files import SHIPPED, check_shipped

#: What ``--engine`` takes; ``auto`` is ONNX Runtime for exported graphs, the shipped ones among them, else torch.
ENGINES = ("auto", "onnx", "torch", "compiled", "openvino")


def is_exported(path: str | Path) -> bool:
    """Whether a path is a folder of exported graphs."""
    return any((Path(path) / f"step{suffix}").is_file() for suffix in (".onnx", ".xml", ".ts", ".pt2"))


def load_engine(
    model: str | Path,
    weights: str | Path | None = None,
    device: str = "auto",
    engine: str = "auto",
    threads: int | None = None,
) -> Engine:
    """Load a network for tracking.

    Args:
        model: a registered network, a checkpoint that names its own, or a folder of exported graphs.
        weights: its weights, where ``model`` is a name; None for the shipped ones.
        device: ``auto``, ``cpu``, ``cuda``, …
        engine: one of :data:`ENGINES`.
        threads: of ONNX Runtime or OpenVINO on a CPU.

    Raises:
        CheckpointError: there is no such network or file, or it is damaged.
        ConfigError: there is no such engine, or it cannot run this file.
        DependencyError: the engine or the device is not there.
    """
    if engine not in ENGINES:
        raise ConfigError(f"unknown engine '{engine}'{suggest(engine, ENGINES)}")
    folder = Path(model) if weights is None else None
    if folder is not None and not is_exported(folder):
        folder = SHIPPED / str(model) if is_exported(SHIPPED / str(model)) else None
    if folder is None and engine in ("onnx", "openvino"):
        raise ConfigError(
            f"--engine {engine} runs exported graphs, and '{weights or model}' is none; run tctrack export "
            f"--model {weights or model} --format {engine} --out FOLDER, and track with --model FOLDER"
        )
    shipped = folder is not None and folder.parent == SHIPPED
    if shipped and engine == "auto" and device.startswith("cuda") and not runs_on_cuda():
        engine = "torch"
    if folder is not None and not (shipped and engine in ("torch", "compiled")):
        for graph in folder.iterdir() if shipped else ():
            check_shipped(graph)
        return _load_exported(folder, device, engine, threads)
    try:
        from tctrack.checkpoint.load import load_network
        from tctrack.engines.torch import TorchEngine
        from tctrack.ops.fold import fold_batch_norms
    except ModuleNotFoundError as error:
        raise DependencyError(
            f"'{weights or model}' needs the package '{error.name}'; run pip install torch, or track with the shipped "
            "model or exported graphs"
        ) from None
    name, network = load_network(model, weights, device)
    return TorchEngine(fold_batch_norms(network), name, compiled=engine == "compiled")


def _load_exported(folder: Path, device: str, engine: str, threads: int | None) -> Engine:
    has_onnx = (folder / "step.onnx").is_file()
    if has_onnx and engine in ("auto", "onnx"):
        from tctrack.engines.onnx import OnnxEngine

        return OnnxEngine(folder, device, threads)
    if engine == "openvino" or (engine == "auto" and (folder / "step.xml").is_file()):
        from tctrack.engines.openvino import OpenVinoEngine

        return OpenVinoEngine(folder, device, threads)
    if engine in ("auto", "torch") and not has_onnx:
        from tctrack.engines.torch import ProgramEngine

        return ProgramEngine(folder, device)
    raise ConfigError(f"--engine {engine} cannot run the graphs in '{folder}'; leave it out, or export them for it")
