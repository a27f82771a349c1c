"""The hypothesis test: which rows can see order at all, and that the paper's order appears."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tctrack.action.hypothesis import CALIBRATIONS, FrameNet, run_row, table, write_report
from tctrack.action.motions import LENGTH, MOTIONS

TADACONV = "TAdaConv: local and global context"
SEE_ORDER = {"learnable, one for each frame", "local context", TADACONV}


@pytest.mark.parametrize("name", CALIBRATIONS)
def test_only_temporal_context_sees_the_order_of_frames(name: str) -> None:
    torch.manual_seed(0)
    network = FrameNet(CALIBRATIONS[name]).eval()
    clip = torch.randn(2, 3, LENGTH, 32, 32)
    with torch.no_grad():
        for parameter in network.routes.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter))
        forward, backward = network(clip), network(clip.flip(2))
    change = (forward - backward).abs().max() / forward.abs().max()
    assert bool(change > 1e-4) == (name in SEE_ORDER)


def test_report_has_table_and_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(CALIBRATIONS, "global context")
    accuracies = write_report(tmp_path / "docs", steps=1, seeds=(0,), test_clips=32)
    assert set(accuracies) == set(CALIBRATIONS)
    assert table(accuracies) in (tmp_path / "docs" / "hypothesis.md").read_text()
    assert (tmp_path / "docs" / "hypothesis.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_papers_order() -> None:
    torch.set_num_threads(1)
    chance = 1 / len(MOTIONS)
    names = ("none", "learnable, same for all frames", "learnable, one for each frame", TADACONV)
    none, same, varying, tadaconv = (run_row(name, steps=300) for name in names)
    assert abs(none - chance) < 0.05
    assert varying > same + 0.05
    assert tadaconv >= 0.9
