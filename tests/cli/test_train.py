from __future__ import annotations

import pytest

from tctrack.checkpoint.load import SHIPPED
from tctrack.cli import main

pytestmark = pytest.mark.usefixtures("few_objects")


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["optim.step=3"], "did you mean 'steps'"),
        (["optim.steps=many"], "'optim.steps' must be int"),
        (["steps"], "must look like key=value"),
        (["--config", "train/light"], "did you mean 'train/lite'"),
        (["data.root=/nowhere"], "boxes.json"),
        (["out=/proc/run"], "cannot write '/proc/run'"),
        (["initial=/nowhere.safetensors"], "no checkpoint '/nowhere.safetensors'"),
        (["initial={shipped}", "model.dim=64"], "the shape of '"),
        (["initial={shipped}", "model.name=tctrak"], "did you mean 'tctrack'"),
        (["initial={shipped}", "model.dims=64"], "did you mean 'dim'"),
        (["--config", "train/tctrack"], "set initial="),
        (["--config", "train/tctrack_pp", "initial={shipped}"], "lacks the weight 'backbone.block1.0.weight'"),
        (["optim.batch=6", "optim.accumulate=4"], "make it a multiple of 4"),
        (["validation={sets: [{dataset: DTB71, root: .}]}"], "did you mean 'DTB70'"),
        (["validation={sets: [{dataset: DTB70, root: /nowhere}]}"], "no sequence of DTB70 under /nowhere"),
    ],
)
def test_bad_requests_end_with_one_line(
    arguments: list[str], hint: str, capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    arguments = [argument.replace("{shipped}", str(SHIPPED / "tctrack-lite.safetensors")) for argument in arguments]
    out = [] if arguments[0].startswith("out=") else [f"out={tmp_path_factory.mktemp('run')}"]
    assert main(["train", *arguments, *out, "workers=0"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("tctrack: error: ")
    assert hint in error
    assert error.count("\n") == 1
