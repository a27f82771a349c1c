"""Exporting a tracking network: two graphs, ``start`` and ``step``, with the temporal state as inputs and outputs.

The step's inputs are ``search`` and the state's arrays; its outputs ``boxes``, ``scores`` and the arrays that change.
Crops go in as the tracker cuts them, ``(B, S, S, 3)`` uint8 BGR.
"""

from __future__ import annotations

import io
import logging
import tempfile
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from tctrack.engines.base import ModelInfo, describe
from tctrack.engines.torch import KEY as PROGRAM_KEY
from tctrack.engines.torch import as_network_input, count, flatten, unflatten
from tctrack.errors import ConfigError, require
from tctrack.files import make_folder, write_bytes
from tctrack.models.base import TemporalState, TrackingModel

Format = Literal["onnx", "openvino", "torchscript", "pt2"]
Precision = Literal["fp32", "fp16", "int8"]
#: Oldest operator set that has all that the networks use.
OPSET = 18
#: Weights of fewer values are stored as they are.
SMALL = 64
#: Tensors of a state that a step leaves as they are: those before the caches.
CONSTANT = TemporalState._fields.index("caches")


class _Start(nn.Module):
    def __init__(self, model: TrackingModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, template: Tensor, search: Tensor, extent: Tensor) -> tuple[Tensor, ...]:
        return flatten(self.model.start(as_network_input(template), as_network_input(search), extent))


class _Step(nn.Module):
    def __init__(self, model: TrackingModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, search: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        outputs, temporal = self.model.step(as_network_input(search), unflatten(state))
        return (*self.model.decode(outputs), *flatten(temporal)[CONSTANT:])


class Graph(NamedTuple):
    """One of the two graphs, with examples of its inputs."""

    name: str
    module: nn.Module
    inputs: tuple[Tensor, ...]
    input_names: list[str]
    output_names: list[str]


def export_model(
    model: TrackingModel,
    architecture: str,
    out: Path,
    format: Format = "onnx",
    precision: Precision = "fp32",
    batch: int | None = None,
    calibration: Iterable[Sequence[Any]] = (),
) -> None:
    """Write ``start`` and ``step`` into the folder ``out``.

    Args:
        model: the network in evaluation mode, on the CPU; its batch norms had better be folded.
        architecture: its name in the registry.
        out: a folder, made where it is missing.
        format: of the files.
        precision: of the step's arithmetic; ``fp16`` is for GPUs.
        batch: targets that the graphs take at once; None for any number.
        calibration: inputs of the step, as recorded from a video; for ``int8``.

    Raises:
        ConfigError: this network or format cannot have this batch or precision.
        DependencyError: the format needs a package that is not installed.
        OutputError: ``out`` cannot be written.
    """
    if precision != "fp32" and format != "onnx":
        raise ConfigError(f"--precision {precision} is for --format onnx; other engines choose theirs when they load")
    config = model.config
    info = ModelInfo(architecture, config.template_size, config.search_size, config.tracking, *count(model))
    about = describe(info, batch)
    make_folder(out)
    for graph in _graphs(model, batch):
        if format in ("onnx", "openvino"):
            content = to_onnx(graph, dynamic=batch is None, about=about)
            if format == "openvino":
                _write_openvino(content, out / graph.name)
                continue
            if graph.name == "step" and precision != "fp32":
                content = _reduce(content, precision, calibration)
            write_bytes(out / f"{graph.name}.onnx", content)
        else:
            _write_program(graph, out, format, dynamic=batch is None, about=about)


def to_onnx(graph: Graph, *, dynamic: bool, about: str) -> bytes:
    """Return a graph as an ONNX file that any number of targets can go through, if ``dynamic``.

    Weights that half precision holds exactly are stored so; engines widen them when they load.
    """
    onnx, _ = require("onnx", "export"), require("onnxscript", "export")
    logging.getLogger("onnxscript").setLevel(logging.ERROR)  # it tells of every node that it does not fold
    shapes = _shapes(graph) if dynamic else None
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            graph.module, graph.inputs, dynamo=True, opset_version=OPSET, verbose=False,
            input_names=graph.input_names, output_names=graph.output_names, dynamic_shapes=shapes,
        )  # fmt: skip
    assert program is not None
    model = program.model_proto
    _halve(onnx, model)
    del model.metadata_props[:]
    model.metadata_props.add(key="tctrack", value=about)
    for node in model.graph.node:  # where the exporter stood in this machine's files
        del node.metadata_props[:]
        node.doc_string = ""
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _graphs(model: TrackingModel, batch: int | None) -> tuple[Graph, Graph]:
    count = batch or 2  # an example of one target would be taken for a constant
    crops = [
        torch.randint(0, 256, (count, side, side, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        for side in (model.config.template_size, model.config.search_size)
    ]
    extent = torch.full((count, 2), model.config.template_size / 2)
    first, step = _Start(model).eval(), _Step(model).eval()
    with torch.no_grad():
        state = tuple(tensor.contiguous() for tensor in first(*crops, extent))
    caches = len(state) - len(TemporalState._fields) + 1
    names = [
        name
        for field in TemporalState._fields
        for name in ([f"cache{n}" for n in range(caches)] if field == "caches" else [field])
    ]
    changed = [f"next_{name}" for name in names[CONSTANT:]]
    return (
        Graph("start", first, (*crops, extent), ["template_crop", "search", "extent_in"], names),
        Graph("step", step, (crops[1], *state), ["search", *names], ["boxes", "scores", *changed]),
    )


def _shapes(graph: Graph) -> Any:
    batch = {0: torch.export.Dim("batch")}
    if graph.name == "start":
        return (batch,) * len(graph.inputs)
    return batch, (batch,) * (len(graph.inputs) - 1)


def _halve(onnx: Any, model: Any) -> None:
    """Store float32 weights that float16 holds exactly as such, each widened again by a node."""
    array = onnx.numpy_helper.to_array
    nodes, kept = [], []
    for weight in model.graph.initializer:
        values = array(weight)
        if values.dtype != "float32" or values.size < SMALL or (values.astype("float16") != values).any():
            kept.append(weight)
            continue
        name = f"{weight.name}.half"
        kept.append(onnx.numpy_helper.from_array(values.astype("float16"), name))
        nodes.append(onnx.helper.make_node("Cast", [name], [weight.name], to=onnx.TensorProto.FLOAT))
    nodes.extend(model.graph.node)
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.initializer.extend(kept)
    model.graph.node.extend(nodes)


def _reduce(content: bytes, precision: Precision, calibration: Iterable[Sequence[Any]]) -> bytes:
    """Return the step in half precision, or with convolutions in int8."""
    onnx = require("onnx", "export")
    model = onnx.load_model_from_string(content)
    if precision == "fp16":
        float16 = require("onnxruntime.transformers.float16", "export")
        reduced: bytes = float16.convert_float_to_float16(model, keep_io_types=True).SerializeToString()
        return reduced
    quantization = require("onnxruntime.quantization", "export")
    names = [value.name for value in model.graph.input]
    feeds = iter([dict(zip(names, inputs, strict=True)) for inputs in calibration])

    reader = type("Recorded", (quantization.CalibrationDataReader,), {"get_next": lambda _: next(feeds, None)})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "step.onnx"
        quantization.quantize_static(
            model, path, reader(), op_types_to_quantize=["Conv"], per_channel=True,
            extra_options={"ActivationSymmetric": False},
        )  # fmt: skip
        return path.read_bytes()


def _write_openvino(content: bytes, stem: Path) -> None:
    openvino = require("openvino", "openvino")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.xml"
        openvino.save_model(openvino.Core().read_model(content), path, compress_to_fp16=False)
        write_bytes(stem.with_suffix(".bin"), path.with_suffix(".bin").read_bytes())
        write_bytes(stem.with_suffix(".xml"), path.read_bytes())


def _write_program(graph: Graph, out: Path, format: Format, *, dynamic: bool, about: str) -> None:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        if format == "torchscript":
            traced = torch.jit.freeze(torch.jit.trace(graph.module, graph.inputs))  # type: ignore[no-untyped-call]
            torch.jit.save(traced, buffer, {PROGRAM_KEY: about})
        else:
            shapes = _shapes(graph) if dynamic else None
            program = torch.export.export(graph.module, graph.inputs, dynamic_shapes=shapes)
            torch.export.save(program, buffer, extra_files={PROGRAM_KEY: about})
    suffix = ".ts" if format == "torchscript" else ".pt2"
    write_bytes(out / f"{graph.name}{suffix}", buffer.getvalue())
