from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from tctrack.benchmark.catalogue import load_benchmark
from tctrack.benchmark.run import in_process
from tctrack.benchmark.tune import RANGES, Trial, load_trials, propose, save_trials, search
from tctrack.cli import main
from tctrack.errors import DatasetError
from tctrack.types import Box, Frame, TrackResult

ABOUT = {"dataset": "DTB70", "sequences": ["Car6"]}


class Drifts:
    """Moves right by ten times ``lr`` a frame; the target moves by two."""

    def __init__(self, lr: float = 0.5, **_: float) -> None:
        self._speed = 10 * lr

    def init(self, frame: Frame, box: Sequence[float]) -> None:
        self._box = Box(*box)

    def update(self, frame: Frame) -> TrackResult:
        self._box = self._box._replace(x=self._box.x + self._speed)
        return TrackResult(self._box)


def test_proposals_start_with_the_default_and_stay_in_range() -> None:
    own, *others = propose(20, seed=3)

    assert own == {}
    assert propose(20, seed=3) == [own, *others]
    for options in others:
        assert all(RANGES[name][0] <= value <= RANGES[name][1] for name, value in options.items())


def test_search_finds_the_better_setting(dtb70: Path) -> None:
    sequences = load_benchmark("DTB70", dtb70).sequences
    proposals: list[dict[str, float]] = [{}, {"lr": 0.2}, {"lr": 0.8}]

    trials = list(search(lambda options: functools.partial(Drifts, **options), sequences, proposals, in_process))

    assert max(trials, key=lambda trial: trial.success_auc).options == {"lr": 0.2}


def test_known_trials_are_not_run_again(dtb70: Path) -> None:
    known = [Trial({}, 0.5, 0.6)]

    trials = search(lambda options: pytest.fail("ran a known trial"), (), [{}], in_process, known)

    assert list(trials) == known


def test_trials_come_back_with_the_warning(tmp_path: Path) -> None:
    trials = [Trial({}, 0.5, 0.6), Trial({"lr": 0.3}, 0.7, 0.8)]

    save_trials(tmp_path / "t.json", ABOUT, trials)

    content = json.loads((tmp_path / "t.json").read_text())
    assert "not a result" in content["warning"]
    assert content["best"]["options"] == {"lr": 0.3}
    assert load_trials(tmp_path / "t.json", ABOUT) == trials
    assert load_trials(tmp_path / "none.json", ABOUT) == []


def test_trials_of_another_search_are_refused(tmp_path: Path) -> None:
    save_trials(tmp_path / "t.json", ABOUT, [Trial({}, 0.5, 0.6)])
    (tmp_path / "broken.json").write_text("{")

    with pytest.raises(DatasetError, match="another dataset"):
        load_trials(tmp_path / "t.json", ABOUT | {"dataset": "UAV123"})
    with pytest.raises(DatasetError, match="not a file of trials"):
        load_trials(tmp_path / "broken.json", ABOUT)


def test_another_seed_adds_to_the_trials(
    dtb70: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "still.py").write_text(
        "class Still:\n"
        "    def __init__(self, **options): pass\n"
        "    def init(self, image, box): self.box = box\n"
        "    def update(self, image): return self.box\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    words = ["tune", "--dataset", "DTB70", "--root", str(dtb70), "--tracker", "still:Still"]
    words += ["--out", str(tmp_path / "tune.json")]

    assert main([*words, "--trials", "3"]) == 0
    first = json.loads((tmp_path / "tune.json").read_text())["trials"]
    assert main([*words, "--trials", "2", "--seed", "1"]) == 0

    trials = json.loads((tmp_path / "tune.json").read_text())["trials"]
    assert trials[:3] == first
    assert len(trials) == 4
