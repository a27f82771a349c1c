"""Batches, checkpoints and logs of training runs; the loops that use them are tested beside themselves."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from tctrack.errors import CheckpointError
from tctrack.plumbing.batches import load_batches
from tctrack.plumbing.checkpoint import RunCheckpoint
from tctrack.plumbing.processes import Processes, SharedBatchNorm2d
from tctrack.plumbing.runlog import RunLog
from tctrack.plumbing.schedule import derive_seed


def _processes(rank: int, count: int) -> Any:
    return SimpleNamespace(rank=rank, count=count, device=torch.device("cpu"))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_processes_share_every_batch(count: int) -> None:
    order = [3, 1, 4, 0, 5, 9, 2, 6, 8, 7, 11, 10, 12]
    shares = [
        [batch.tolist() for batch in load_batches(range(13), order, 2, _processes(rank, count), 0)]  # type: ignore[arg-type]
        for rank in range(count)
    ]
    batches = [sorted(index for batch in parts for index in batch) for parts in zip(*shares, strict=True)]
    size = 2 * count
    assert batches == [sorted(order[first : first + size]) for first in range(0, 13 - size + 1, size)]


def _run(path: Path, name: str = "net", momentum: float = 0.9, lr: float = 0.1) -> RunCheckpoint:
    torch.manual_seed(0)
    network = nn.Linear(2, 2)
    return RunCheckpoint(path, name, {"model": network}, torch.optim.SGD(network.parameters(), lr, momentum=momentum))


def test_a_run_goes_on_with_its_weights_and_the_new_options(tmp_path: Path) -> None:
    first = _run(tmp_path / "latest.pt")
    assert first.restore() == {}
    first.networks["model"](torch.ones(1, 2)).sum().backward()
    first.optimizer.step()
    first.save({"step": 3, "sums": {"total": 0.5}})
    second = _run(tmp_path / "latest.pt", lr=0.7)
    assert second.restore() == {"step": 3, "sums": {"total": 0.5}}
    for key, value in first.networks["model"].state_dict().items():
        assert value.equal(second.networks["model"].state_dict()[key])
    assert second.optimizer.state_dict()["state"].keys() == {0, 1}
    assert second.optimizer.param_groups[0]["lr"] == 0.7


def test_a_run_of_something_else_is_named(tmp_path: Path) -> None:
    path = tmp_path / "latest.pt"
    _run(path).save({})
    with pytest.raises(CheckpointError, match=r"latest\.pt' \(it trains 'net', not 'other'\); remove it"):
        _run(path, "other").restore()
    torch.save({"epoch": 3}, path)
    with pytest.raises(CheckpointError, match="of an older version"):
        _run(path).restore()


def test_shared_batch_norms_keep_parameters_and_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Sequential(nn.BatchNorm2d(4, momentum=0.3)))
    network.eval()
    before = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    monkeypatch.setenv("WORLD_SIZE", "2")
    Processes("cpu").share_batch_norms(network)
    after = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    assert before.keys() == after.keys()
    assert all(after[key] is value for key, value in before.items())
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert [(type(norm), norm.momentum, norm.training) for norm in norms] == [
        (SharedBatchNorm2d, 0.1, False),
        (SharedBatchNorm2d, 0.3, False),
    ]


def test_a_log_goes_on_after_the_step_of_its_checkpoint(tmp_path: Path) -> None:
    log = RunLog(tmp_path, 0)
    for step in (2, 4, 6):
        log.write(step, {"total": step / 2})
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 8, "tot')
    RunLog(tmp_path, 4).write(5, {"total": 9.0})
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert rows == [{"step": 2, "total": 1.0}, {"step": 4, "total": 2.0}, {"step": 5, "total": 9.0}]


def test_seeds_differ_by_every_number() -> None:
    seeds = {derive_seed(seed, step, rank) for seed in range(3) for step in range(3) for rank in range(1, 4)}
    assert len(seeds) == 27
