from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from tctrack.checkpoint import read_checkpoint
from tctrack.cli import main
from tests.published import published_model


def test_convert_lists_what_it_drops(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "released.pth", tmp_path / "converted.safetensors"
    torch.save(published_model("tctrack").state_dict() | {"grader.conv3.0.weight": torch.zeros(1)}, source)
    assert main(["convert", str(source), "--out", str(out)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "dropped grader.conv3.0.weight (unused)"
    assert printed[1].endswith("converted.safetensors: tctrack, 187 tensors")
    assert read_checkpoint(out).metadata["architecture"] == "tctrack"


def test_convert_of_a_text_file_is_one_line_and_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.pth").write_text("hello\n")
    assert main(["convert", str(tmp_path / "notes.pth"), "--out", str(tmp_path / "x.safetensors")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("tctrack: error: cannot read checkpoint")
    assert error.count("\n") == 1
    assert not (tmp_path / "x.safetensors").exists()


@pytest.mark.parametrize("out", ["released.pth", "released.foo", "released.safetensors"])
def test_convert_never_replaces_what_it_reads(out: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / ("released.pth" if out != "released.safetensors" else out)
    source.write_bytes(b"kept")
    assert main(["convert", str(source), "--out", str(tmp_path / out)]) == 2
    assert re.search("different files|end in .safetensors", capsys.readouterr().err)
    assert source.read_bytes() == b"kept"
