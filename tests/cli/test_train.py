from __future__ import annotations

import pytest

from tctrack.cli import main


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["optim.step=3"], "did you mean 'steps'"),
        (["optim.steps=many"], "'optim.steps' must be int"),
        (["steps"], "must look like key=value"),
        (["--config", "train/light"], "did you mean 'train/lite'"),
        (["data.root=/nowhere"], "boxes.json"),
        (["out=/proc/run"], "cannot write to '/proc/run'"),
        (["initial=/nowhere.safetensors"], "no checkpoint '/nowhere.safetensors'"),
    ],
)
def test_bad_requests_end_with_one_line(
    arguments: list[str], hint: str, capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    out = [] if arguments[0].startswith("out=") else [f"out={tmp_path_factory.mktemp('run')}"]
    assert main(["train", *arguments, *out, "workers=0"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("tctrack: error: ")
    assert hint in error
    assert error.count("\n") == 1
