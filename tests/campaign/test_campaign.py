"""The campaign: commands with something wrong in them, and what they must not do.

``make campaign`` runs at least 2,000 cases and the kills; a seeded slice of 200 runs with the other tests.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.campaign.cases import Case, cases
from tests.campaign.judge import KINDS, Judge
from tests.campaign.world import build_world

pytestmark = pytest.mark.usefixtures("few_objects")

#: Commands that once went wrong, with ``W`` for the folder of inputs.
CORPUS = [
    Case("track", ["file://W/a.mp4", "--box", "20,40,24,24", "--model", "static", "--out", "W/a.mp4"], True),
    Case("track", ["W/bad/cut", "--box", "20,40,24,24", "--model", "static", "--boxes", "b.txt"], True),
    Case("track", ["W/a.mp4", "--box", "20,40,24,24", "--model", "tctrack", "--weights", "W/bad/nan.pth"], True),
    Case("track", ["rtsp://me:secret@127.0.0.1:1/x", "--box", "20,40,24,24", "--model", "static"], True),
    Case(
        "track",
        [
            "W/a.mp4",
            "--box",
            "W/own/walk/groundtruth.txt",
            "--model",
            "static",
            "--boxes",
            "W/own/walk/groundtruth.txt",
        ],
        True,
    ),
    Case("convert", ["W/bad/code.pth", "--out", "x.safetensors"], True),
    Case("train", ["--config", "W/train.yaml", "out=run", "optim.lr=.inf"], True),
    Case("train", ["--config", "W/train.yaml", "out=run", "optim.steps=-5"], True),
    Case("train", ["--config", "W/bad/alias.yaml"], True),
    Case("train", ["--config", "W/bad/deep.yaml"], True),
    Case("train", ["--config", "W/bad/date.yaml"], True),
    Case("eval-localization", ["W/bad/deep.json", "W/annotations.json"], True),
    Case("eval-localization", ["W/detections.json", "W/bad/deep.json"], True),
]


def campaign(folder: Path, count: int, derandomize: bool) -> Judge:
    """Run the corpus and so many drawn cases."""
    world = folder / "world"
    world.mkdir()
    good = build_world(world)
    judge = Judge(world, folder)
    for verb, words in good.items():
        judge.run(Case(verb, words))
    assert judge.counts["exit 0"] == len(good), judge.faults
    for verb, words, refused in CORPUS:
        judge.run(Case(verb, [word.replace("W/", f"{world}/") for word in words], refused))

    @settings(
        max_examples=count,
        derandomize=derandomize,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases(world, good))
    def run(case: Case) -> None:
        judge.run(case)

    run()
    return judge


def test_a_seeded_slice(tmp_path: Path) -> None:
    judge = campaign(tmp_path, 200, derandomize=True)
    assert not any(judge.counts[kind] for kind in KINDS), "\n".join([judge.report(), *judge.faults])


@pytest.mark.slow
def test_two_thousand_cases(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    judge = campaign(tmp_path, int(os.environ.get("TCTRACK_CASES", 2000)), derandomize=False)
    with capsys.disabled():
        print(f"\ncampaign: {judge.report()}")
    assert not any(judge.counts[kind] for kind in KINDS), "\n".join([judge.report(), *judge.faults])
