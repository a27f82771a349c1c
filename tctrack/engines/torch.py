"""Torch: eager or compiled networks, and the TorchScript or pt2 programs that ``tctrack export`` saves of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tctrack.checkpoint import pick_device
from tctrack.engines.base import Engine, Graphs, Images, ModelInfo, State, described
from tctrack.errors import CheckpointError
from tctrack.models.base import TemporalState, TrackingModel
from tctrack.types import FloatArray

#: Name of the file within a program that describes the network.
KEY = "tctrack.json"


class TorchEngine(Engine):
    """A network in evaluation mode, on the device where it is.

    Args:
        model: the network.
        architecture: its name in the registry.
        compiled: let ``torch.compile`` make the step faster, which takes a minute at the first frame.
    """

    name = "torch"

    def __init__(self, model: TrackingModel, architecture: str = "", compiled: bool = False) -> None:
        self.model = model
        config = model.config
        self.info = ModelInfo(architecture, config.template_size, config.search_size, config.tracking)
        self._device = next(model.parameters()).device
        self._step: Callable[..., Any] = torch.compile(model.step) if compiled else model.step

    @torch.inference_mode()
    def start(self, template: Images, search: Images, extent: FloatArray) -> State:
        """See :class:`Engine`."""
        sides = torch.as_tensor(extent, dtype=torch.float32, device=self._device)
        return flatten(self.model.start(self._images(template), self._images(search), sides))

    @torch.inference_mode()
    def step(self, search: Images, state: State) -> tuple[FloatArray, FloatArray, State]:
        """See :class:`Engine`."""
        outputs, temporal = self._step(self._images(search), unflatten(state))
        boxes, scores = (values.float().cpu().numpy() for values in self.model.decode(outputs))
        return boxes, scores, flatten(temporal)

    def join(self, states: Sequence[State]) -> State:
        """See :class:`Engine`."""
        return tuple(torch.cat(parts) for parts in zip(*states, strict=True))

    def _images(self, images: Images) -> Tensor:
        return as_network_input(torch.from_numpy(images).to(self._device))


class ProgramEngine(Graphs):
    """A folder with ``start`` and ``step`` as ``.ts`` (TorchScript) or ``.pt2`` (``torch.export``) programs.

    Raises:
        CheckpointError: a program is missing or damaged, or does not describe its network.
        DependencyError: the device is not there.
    """

    name = "torch"

    def __init__(self, folder: Path, device: str = "auto") -> None:
        self._device = pick_device(device)
        self._start, _ = self._load(folder, "start")
        self._step, about = self._load(folder, "step")
        super().__init__(*described(about, folder))

    def _load(self, folder: Path, graph: str) -> tuple[Callable[..., Any], str]:
        about = {KEY: ""}
        path = next((path for path in (folder / f"{graph}.ts", folder / f"{graph}.pt2") if path.is_file()), None)
        if path is None:
            raise CheckpointError(f"no program '{folder / graph}.pt2'; 'tctrack export --format pt2' writes it")
        try:
            if path.suffix == ".ts":
                program = torch.jit.load(path, self._device, _extra_files=about)  # type: ignore[no-untyped-call]
            else:
                program = torch.export.load(path, extra_files=about).module().to(self._device)
        except Exception as error:  # a damaged file can raise almost anything
            raise CheckpointError(f"cannot read '{path}' ({type(error).__name__}); export it again") from None
        text = about[KEY]
        return program, text.decode() if isinstance(text, bytes) else text

    def _run_start(self, inputs: Sequence[Any]) -> Sequence[Any]:
        return self._run(self._start, inputs)

    def _run_step(self, inputs: Sequence[Any]) -> Sequence[Any]:
        return self._run(self._step, inputs)

    @torch.inference_mode()
    def _run(self, program: Callable[..., Any], inputs: Sequence[Any]) -> Sequence[Any]:
        outputs = program(*(torch.from_numpy(value).to(self._device) for value in inputs))
        return [value.cpu().numpy() for value in outputs]


def count(model: TrackingModel) -> tuple[int, int]:
    """Return a network's parameters, and the multiply-adds of one step for one target, in convolutions and products."""
    from torch.utils.flop_counter import FlopCounterMode  # slow to import

    config, device = model.config, next(model.parameters()).device
    template, search = (
        torch.zeros(1, 3, side, side, device=device) for side in (config.template_size, config.search_size)
    )
    with torch.no_grad():
        state = model.start(template, search)
        with FlopCounterMode(display=False) as counter:
            model.step(search, state)
    return sum(weight.numel() for weight in model.parameters()), counter.get_total_flops() // 2


def as_network_input(images: Tensor) -> Tensor:
    """Return crops ``(B, S, S, 3)`` uint8 as networks take them, ``(B, 3, S, S)`` float32."""
    return images.permute(0, 3, 1, 2).float()


def flatten(state: TemporalState) -> tuple[Tensor, ...]:
    """Return the tensors of a state in the order of its fields."""
    return tuple(tensor for field in state for tensor in (field if isinstance(field, tuple) else (field,)))


def unflatten(tensors: Sequence[Tensor]) -> TemporalState:
    """Return the state of these tensors; the inverse of :func:`flatten`."""
    first = TemporalState._fields.index("caches")
    last = len(tensors) - (len(TemporalState._fields) - 1 - first)
    fields: list[Any] = [*tensors[:first], tuple(tensors[first:last]), *tensors[last:]]
    return TemporalState(*fields)
