"""The log of a training run: JSON lines, and TensorBoard where asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tctrack.errors import require
from tctrack.files import naming, write_text


class RunLog:
    """Appends rows to ``log.jsonl``; a resumed run goes on after the row of its checkpoint.

    Args:
        out: folder of the run.
        step: the step that training goes on from; later rows, of a run that was killed, are dropped.
        tensorboard: also write TensorBoard's event files.

    Raises:
        DependencyError: TensorBoard is not installed.
        OutputError: the log cannot be written.
    """

    def __init__(self, out: Path, step: int, tensorboard: bool = False) -> None:
        self._path = out / "log.jsonl"
        write_text(self._path, "".join(f"{row}\n" for row in _rows_until(self._path, step)))
        self._board: Any = None
        if tensorboard:
            tensorboard_of_torch = require("torch.utils.tensorboard", "tensorboard", "set tensorboard=false")
            self._board = tensorboard_of_torch.SummaryWriter(out / "tensorboard", purge_step=step + 1)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add what was measured at a step."""
        with naming(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)
            self._board.flush()


def _rows_until(path: Path, step: int) -> list[str]:
    """Return the rows up to a step; a killed run may have left half a row."""
    kept = []
    for row in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            if json.loads(row)["step"] <= step:
                kept.append(row)
        except ValueError:
            continue
    return kept
