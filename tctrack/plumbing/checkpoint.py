"""The checkpoint of a training run, from which it goes on as if it had never stopped."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tctrack.checkpoint import check_finite, fill, write_state
from tctrack.errors import CheckpointError


@dataclass(frozen=True)
class RunCheckpoint:
    """All that a run needs to go on."""

    path: Path
    """The file."""
    name: str
    """Name of the network that is trained."""
    networks: dict[str, nn.Module]
    """The network, and perhaps its average."""
    optimizer: torch.optim.Optimizer

    def save(self, progress: dict[str, Any]) -> None:
        """Write the state of the run, and how far it is in plain values.

        Raises:
            CheckpointError: a weight is not finite any more; the file stays as it was.
            OutputError: the file cannot be written.
        """
        states = {key: network.state_dict() for key, network in self.networks.items()}
        for key, state in states.items():
            check_finite(state, f"the {key} in training")
        content = {"name": self.name, "progress": progress, "optimizer": self.optimizer.state_dict(), **states}
        write_state(self.path, content)

    def restore(self) -> dict[str, Any]:
        """Take over the state of the file and return the progress; empty where there is no file.

        Options of the optimiser, such as weight decay, stay as configured.

        Raises:
            CheckpointError: the file is damaged, or belongs to a run of another network or optimiser.
        """
        if not self.path.is_file():
            return {}
        try:
            content = torch.load(self.path, map_location="cpu", weights_only=True)
            if content["name"] != self.name:
                raise CheckpointError(f"it trains '{content['name']}', not '{self.name}'")
            for key, network in self.networks.items():
                fill(network, content[key], self.path)
            self._restore_optimizer(content["optimizer"])
            return dict(content["progress"])
        except Exception as error:  # a damaged file can raise almost anything
            reason = (
                error
                if isinstance(error, CheckpointError)
                else f"damaged, or of an older version: {type(error).__name__}"
            )
            raise CheckpointError(
                f"cannot resume from '{self.path}' ({reason}); remove it to begin anew, or set another out="
            ) from None

    def _restore_optimizer(self, saved: dict[str, Any]) -> None:
        groups, before = self.optimizer.param_groups, saved["param_groups"]
        if ("momentum" in groups[0]) != ("momentum" in before[0]):
            raise CheckpointError("it was trained with another optimizer")
        if [len(group["params"]) for group in groups] != [len(group["params"]) for group in before]:
            raise CheckpointError("it trained other parameters, or grouped them otherwise")
        options = [{key: value for key, value in group.items() if key != "params"} for group in groups]
        self.optimizer.load_state_dict(saved)
        for group, own in zip(self.optimizer.param_groups, options, strict=True):
            group.update(own)
