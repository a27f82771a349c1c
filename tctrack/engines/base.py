"""What every engine offers to trackers: the two functions of a stream, on arrays."""

from __future__ import annotations

import dataclasses
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tctrack.config import build
from tctrack.errors import CheckpointError, ConfigError
from tctrack.settings import TrackerSettings
from tctrack.types import FloatArray

#: What a network remembers of a batch of targets: arrays of constant size in the engine's own form, batch first.
State: TypeAlias = tuple[Any, ...]
#: Images ``(B, S, S, 3)``, BGR.
Images: TypeAlias = NDArray[np.uint8]


@dataclass(frozen=True)
class ModelInfo:
    """What a tracker has to know of a network."""

    architecture: str
    """Its name in the registry of networks."""
    template_size: int
    """Side of the template crop in pixels; it shows the target's context once."""
    search_size: int
    """Side of the search crop in pixels, at the template's scale."""
    settings: TrackerSettings
    """The tracker's settings that suit it."""
    parameters: int = 0
    """Its parameters; 0 where nobody counted."""
    macs: int = 0
    """Multiply-adds of one step for one target, in convolutions and products; 0 where nobody counted."""


class Engine(ABC):
    """Runs one network; a batch holds one target each, and the state is a value, passed in and out."""

    #: The engine's name, as of ``--engine``.
    name: str
    info: ModelInfo

    @abstractmethod
    def start(self, template: Images, search: Images, extent: FloatArray) -> State:
        """Begin streams.

        Args:
            template: crops ``(B, Z, Z, 3)`` uint8 BGR.
            search: first search crops ``(B, X, X, 3)`` uint8 BGR.
            extent: width and height of the targets in template pixels ``(B, 2)``.
        """

    @abstractmethod
    def step(self, search: Images, state: State) -> tuple[FloatArray, FloatArray, State]:
        """Locate the targets in the next search crops ``(B, X, X, 3)`` uint8 BGR.

        Returns:
            boxes ``(B, N, 4)``: x, y of the centre from the crop's centre, width, height, in search pixels;
            scores ``(B, N)``; the new state.
        """

    def join(self, states: Sequence[State]) -> State:
        """Return the state of all targets in one batch."""
        return tuple(np.concatenate(parts) for parts in zip(*states, strict=True))

    def split(self, state: State) -> list[State]:
        """Return the states of a batch's targets, one each; the inverse of :meth:`join`."""
        return [tuple(part[index : index + 1] for part in state) for index in range(len(state[0]))]


class Graphs(Engine):
    """An engine of two exported graphs: ``start`` maps crops to a state, ``step`` a crop and a state to the rest.

    The step returns only the part of the state that changes, the last arrays of it. Graphs with a fixed batch run
    larger ones a target at a time.
    """

    def __init__(self, info: ModelInfo, batch: int | None) -> None:
        self.info = info
        self._batch = batch

    def start(self, template: Images, search: Images, extent: FloatArray) -> State:
        """See :class:`Engine`."""
        extent = np.asarray(extent, np.float32)
        if self._fits(len(search)):
            return tuple(self._run_start((template, search, extent)))
        rows = (slice(index, index + 1) for index in range(len(search)))
        return self.join([self.start(template[row], search[row], extent[row]) for row in rows])

    def step(self, search: Images, state: State) -> tuple[FloatArray, FloatArray, State]:
        """See :class:`Engine`."""
        if self._fits(len(search)):
            boxes, scores, *changed = self._run_step((search, *state))
            return boxes, scores, (*state[: len(state) - len(changed)], *changed)
        alone = [self.step(search[index : index + 1], part) for index, part in enumerate(self.split(state))]
        boxes, scores, states = zip(*alone, strict=True)
        return np.concatenate(boxes), np.concatenate(scores), self.join(states)

    def _fits(self, batch: int) -> bool:
        if self._batch in (None, batch):
            return True
        if self._batch != 1:
            raise ConfigError(f"these graphs were exported for {self._batch} targets, not {batch}; export for 1")
        return False

    @abstractmethod
    def _run_start(self, inputs: Sequence[Any]) -> Sequence[Any]: ...

    @abstractmethod
    def _run_step(self, inputs: Sequence[Any]) -> Sequence[Any]: ...


def describe(info: ModelInfo, batch: int | None) -> str:
    """Return what an exported program says of itself; ``batch`` is None where it may be any."""
    return json.dumps({"model": dataclasses.asdict(info), "batch": batch}, sort_keys=True)


def described(text: str, where: object) -> tuple[ModelInfo, int | None]:
    """Read what :func:`describe` wrote into the file ``where``.

    Raises:
        CheckpointError: it is no description of a network.
    """
    try:
        about = json.loads(text)
        return build(ModelInfo, about["model"]), about["batch"]
    except (ValueError, TypeError, KeyError, ConfigError) as error:
        raise CheckpointError(f"'{where}' does not describe a tracking network ({error}); export it again") from None


def default_threads() -> int:
    """Return ``OMP_NUM_THREADS`` where it is set, else two threads where there are as many cores.

    More would take the cores of the decoder and of other trackers for little gain on maps this small.
    """
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdecimal() and int(given) else min(2, os.cpu_count() or 1)
