"""OpenVINO (extra ``openvino``): Intel's engine, which also runs on other x86 and Arm processors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tctrack.engines.base import Graphs, default_threads, described
from tctrack.engines.onnx import KEY
from tctrack.errors import CheckpointError, require


class OpenVinoEngine(Graphs):
    """A folder with ``start.xml`` and ``step.xml`` and their weights, or with the graphs of ONNX.

    Args:
        folder: where the graphs are.
        device: ``auto`` for the CPU, or OpenVINO's name of another device, such as ``GPU``.
        threads: of a CPU; see :func:`~tctrack.engines.base.default_threads`.

    Raises:
        CheckpointError: a graph is missing or damaged, or does not describe its network.
        DependencyError: OpenVINO is not installed.
    """

    name = "openvino"

    def __init__(self, folder: Path, device: str = "auto", threads: int | None = None) -> None:
        openvino = require("openvino", "openvino")
        core = openvino.Core()
        place = "CPU" if device in ("auto", "cpu") else device
        # Exact arithmetic: bfloat16, the default of newer processors, moves the scores.
        options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        if place == "CPU":
            options["INFERENCE_NUM_THREADS"] = str(threads or default_threads())

        def load(graph: str) -> Any:
            paths = [folder / f"{graph}{suffix}" for suffix in (".xml", ".onnx")]
            path = next((path for path in paths if path.is_file()), None)
            if path is None:
                raise CheckpointError(f"no graph '{paths[0]}'; 'tctrack export --format openvino' writes it")
            try:
                model = core.read_model(path)
                return model, core.compile_model(model, place, options).create_infer_request()
            except Exception as error:  # it does not name the errors of a damaged file
                raise CheckpointError(f"OpenVINO cannot run '{path}': {str(error).splitlines()[0]}") from None

        _, self._start = load("start")
        model, self._step = load("step")
        path = ["framework", KEY]  # where OpenVINO keeps what ONNX calls metadata
        super().__init__(*described(model.get_rt_info(path).astype(str) if model.has_rt_info(path) else "", folder))

    def _run_start(self, inputs: Sequence[Any]) -> Sequence[Any]:
        return self._run(self._start, inputs)

    def _run_step(self, inputs: Sequence[Any]) -> Sequence[Any]:
        return self._run(self._step, inputs)

    @staticmethod
    def _run(request: Any, inputs: Sequence[Any]) -> Sequence[Any]:
        outputs = request.infer(dict(enumerate(np.ascontiguousarray(value) for value in inputs)))
        return [np.array(value) for value in outputs.values()]  # the request reuses its own arrays
