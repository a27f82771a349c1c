"""ONNX Runtime: the default engine, on a CPU or, where its build has them, on CUDA and TensorRT."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tctrack.engines.base import Graphs, default_threads, described
from tctrack.errors import CheckpointError, DependencyError, require

#: Key of the metadata that describes the network.
KEY = "tctrack"
_PROVIDERS = {
    "cpu": ["CPUExecutionProvider"],
    "cuda": ["CUDAExecutionProvider", "CPUExecutionProvider"],
    "tensorrt": ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"],
}


def runs_on_cuda() -> bool:
    """Whether the installed ONNX Runtime is one for CUDA."""
    onnxruntime = require("onnxruntime", "headless")
    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


class OnnxEngine(Graphs):
    """A folder with ``start.onnx`` and ``step.onnx``.

    Args:
        folder: where the graphs are.
        device: ``auto``, ``cpu``, ``cuda`` or ``tensorrt``.
        threads: of a CPU; see :func:`~tctrack.engines.base.default_threads`.

    Raises:
        CheckpointError: a graph is missing or damaged, or does not describe its network.
        DependencyError: ONNX Runtime is not installed, or not for this device.
    """

    name = "onnx"

    def __init__(self, folder: Path, device: str = "auto", threads: int | None = None) -> None:
        onnxruntime = require("onnxruntime", "headless")
        available = onnxruntime.get_available_providers()
        kind = device.partition(":")[0]
        if kind == "auto":
            kind = "cuda" if "CUDAExecutionProvider" in available else "cpu"
        if kind not in _PROVIDERS or _PROVIDERS[kind][0] not in available:
            raise DependencyError(
                f"ONNX Runtime has no device '{device}' here; use cpu, or pip install onnxruntime-gpu"
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or default_threads()
        # Spinning workers would take the cores of the crop and of the decoder.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3

        def load(graph: str) -> Any:
            path = folder / f"{graph}.onnx"
            if not path.is_file():
                raise CheckpointError(f"no graph '{path}'; 'tctrack export' writes start.onnx and step.onnx")
            try:
                return onnxruntime.InferenceSession(str(path), options, _PROVIDERS[kind])
            except Exception as error:  # it does not name the errors of a damaged file
                reason = str(error).splitlines()[0]
                raise CheckpointError(f"ONNX Runtime cannot read '{path}': {reason}; export it again") from None

        self._start, self._step = load("start"), load("step")
        about = self._step.get_modelmeta().custom_metadata_map.get(KEY, "")
        super().__init__(*described(about, folder / "step.onnx"))
        self._names = {session: [value.name for value in session.get_inputs()] for session in (self._start, self._step)}

    def _run_start(self, inputs: Sequence[Any]) -> Sequence[Any]:
        return self._run(self._start, inputs)

    def _run_step(self, inputs: Sequence[Any]) -> Sequence[Any]:
        return self._run(self._step, inputs)

    def _run(self, session: Any, inputs: Sequence[Any]) -> Sequence[Any]:
        outputs: Sequence[Any] = session.run(None, dict(zip(self._names[session], inputs, strict=True)))
        return outputs
