from __future__ import annotations

import functools
import importlib.util
import pickle
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from tctrack.benchmark.identity import (
    SCENE_FRAMES,
    SCENE_SIZE,
    Identity,
    Summary,
    count_jumps,
    count_losses,
    generate_exits,
    generate_scenes,
    identify,
    summarize,
)
from tctrack.benchmark.run import in_process, run_trackers
from tctrack.benchmark.sequences import BenchmarkSequence
from tctrack.errors import ConfigError, TrackerError
from tctrack.scenes.lookalikes import KINDS
from tctrack.types import FloatArray
from trackers import build_tracker

ROOT = Path(__file__).parents[2]
TARGET, LOOKALIKE, GROUND = (0, 0, 20, 20), (30, 0, 20, 20), (200, 200, 20, 20)


def boxes(*parts: tuple[int, tuple[float, ...]]) -> FloatArray:
    """Boxes that stay so many frames at each place."""
    return np.array([box for count, box in parts for _ in range(count)], np.float64)


def jumps(*parts: tuple[int, tuple[float, ...]]) -> Identity:
    found = boxes(*parts)
    likes = np.stack((boxes((len(found), LOOKALIKE)), boxes((len(found), (60, 0, 20, 20)))), 1)
    return count_jumps(found, boxes((len(found), TARGET)), likes)


def losses(truth: FloatArray, *parts: tuple[int, tuple[float, ...]]) -> Identity:
    return count_losses(boxes(*parts), truth)


def test_a_tracker_that_stays_does_not_jump() -> None:
    assert jumps((10, TARGET)) == Identity(0, 10, True, 1.0, 10)


def test_a_jump_counts_once_however_long_it_lasts() -> None:
    assert jumps((4, TARGET), (6, LOOKALIKE)) == Identity(1, 4, False, 0.4, 10)
    assert jumps((4, TARGET), (3, LOOKALIKE), (3, (60, 0, 20, 20))).jumps == 1


def test_a_glance_is_no_jump() -> None:
    assert jumps((4, TARGET), (2, LOOKALIKE), (4, TARGET)) == Identity(0, 10, True, 0.8, 10)


def test_another_jump_needs_the_target_in_between() -> None:
    assert jumps((2, TARGET), (3, LOOKALIKE), (2, GROUND), (3, LOOKALIKE)).jumps == 1
    assert jumps((2, TARGET), (3, LOOKALIKE), (1, TARGET), (3, LOOKALIKE)).jumps == 2


def test_a_loss_to_the_ground_is_no_jump_but_off_target() -> None:
    assert jumps((5, TARGET), (5, GROUND)) == Identity(0, 10, False, 0.5, 10)


def test_a_jump_may_lead_over_the_ground() -> None:
    assert jumps((4, TARGET), (2, GROUND), (4, LOOKALIKE)).first_jump == 6


def test_a_box_on_both_is_on_the_target() -> None:
    """Its centre lies in the look-alike, and it overlaps the target by more than a tenth."""
    assert jumps((1, TARGET), (9, (10, -10, 41, 40))).jumps == 0


def test_no_box_is_off_target() -> None:
    nowhere = (np.nan,) * 4
    assert jumps((5, TARGET), (5, nowhere)) == Identity(0, 10, False, 0.5, 10)


def test_sudden_losses_of_a_recorded_target() -> None:
    there = boxes((40, TARGET))
    assert losses(there, (40, TARGET)) == Identity(0, 40, True, 1.0, 40)
    assert losses(there, (10, TARGET), (30, GROUND)) == Identity(1, 10, False, 0.25, 40)
    assert losses(there, (10, TARGET), (10, GROUND), (10, TARGET), (10, GROUND)).jumps == 2


def test_a_slow_drift_is_no_sudden_loss() -> None:
    beside = (14, 0, 20, 20)  # IoU 0.18
    there = boxes((40, TARGET))
    assert losses(there, (10, TARGET), (5, beside), (25, GROUND)).jumps == 1
    assert losses(there, (10, TARGET), (15, beside), (15, GROUND)).jumps == 0


def test_a_target_that_leaves_must_be_found_again() -> None:
    elsewhere = (100, 100, 20, 20)
    truth = boxes((10, TARGET), (5, (np.nan,) * 4), (25, elsewhere))
    assert losses(truth, (17, TARGET), (23, elsewhere)) == Identity(0, 40, True, 33 / 35, 40)
    assert losses(truth, (40, TARGET)) == Identity(1, 15, False, 10 / 35, 40)


def test_the_summary() -> None:
    items = [Identity(2, 10, False, 0.5, 50), Identity(0, 150, True, 1.0, 150)]
    assert summarize(items) == Summary(jumps_per_100=1.0, kept=0.5, first_jump=80, on_target=0.75)


def test_scenes_are_the_same_for_the_same_seed_and_cross_processes() -> None:
    first, second = generate_scenes(1, seed=5), generate_scenes(1, seed=5)
    assert [scene.kind for scene in first] == list(KINDS)
    assert not {scene.name for scene in generate_scenes(3)} & {scene.name for scene in generate_scenes(3, seed=1)}
    for one, other in zip(first, pickle.loads(pickle.dumps(second)), strict=True):
        np.testing.assert_array_equal(one.boxes, other.boxes)
        np.testing.assert_array_equal(one.lookalikes, other.lookalikes)
        assert one.lookalikes.shape == (SCENE_FRAMES, one.lookalikes.shape[1], 4)
        frame = next(one.frames())
        np.testing.assert_array_equal(frame, next(other.frames()))
        assert frame.shape == (SCENE_SIZE[1], SCENE_SIZE[0], 3)
    assert len(list(first[0].frames())) == len(first[0]) == SCENE_FRAMES


def test_a_target_that_leaves_has_no_box() -> None:
    (scene,) = generate_exits(1, away=20, seed=2)
    absent = np.isnan(scene.boxes).all(1)
    assert 14 <= absent.sum() <= 28
    assert not absent[[0, -1]].any()
    assert len(list(scene.frames())) == len(scene)


def test_scenes_and_recordings_are_measured_by_their_own_rule() -> None:
    scene = generate_scenes(1)[1]
    left = np.concatenate((scene.boxes[:40], scene.lookalikes[40:, 0]))
    assert identify(scene, scene.boxes) == Identity(0, SCENE_FRAMES, True, 1.0, SCENE_FRAMES)
    assert identify(scene, left)[:3] == (1, 40, False)
    recorded = BenchmarkSequence("x", boxes((8, TARGET)))
    assert identify(recorded, boxes((4, TARGET), (4, GROUND)))[:3] == (1, 4, False)


def test_trackers_are_run() -> None:
    scenes = generate_scenes(1)[:2]
    found = run_trackers({"still": functools.partial(build_tracker, "static")}, scenes, in_process)
    for scene in scenes:
        assert (found["still"][scene.name] == scene.boxes[0]).all()
    with pytest.raises(TrackerError, match="broken on crossing_0: ZeroDivisionError"):
        run_trackers({"broken": lambda: 1 / 0}, scenes, in_process)  # type: ignore[dict-item, return-value]
    with pytest.raises(ConfigError, match=r"two runs would write still/crossing_0\.txt"):
        run_trackers({"still": functools.partial(build_tracker, "static")}, [*scenes, scenes[0]], in_process)


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Run ``tools/identity.py`` with arguments."""
    spec = importlib.util.spec_from_file_location("identity_tool", ROOT / "tools" / "identity.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def run(*arguments: str | Path) -> None:
        monkeypatch.setattr(sys, "argv", ["identity.py", *map(str, arguments)])
        module.main()

    return run


def test_the_tool_prints_a_table_and_draws_a_sheet(
    tool: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet = tmp_path / "new" / "sheet.png"
    tool("static", "static,label=again", "--scenes", "1", "--data", tmp_path, "--sheet", sheet)
    printed, notes = capsys.readouterr()
    assert "no recordings" in notes
    rows = {line.split("(")[0].strip(): line.split(")")[1].split() for line in printed.splitlines() if ")" in line}
    assert list(rows) == [*KINDS, "all"]
    for cells in rows.values():
        assert len(cells) == 8
        assert cells[:4] == cells[4:]
    picture = cv2.imread(str(sheet))
    assert picture is not None
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 1000
    assert [path.name for path in sheet.parent.iterdir()] == ["sheet.png"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["statik"], "did you mean 'static'"),
        (["static", "--scenes", "0"], "--scenes 0 measures nothing"),
        (["static", "--scenes", "1", "--data", "none", "--sheet", "sheet.doc"], "must end in .png or .jpg"),
    ],
)
def test_the_tool_explains_mistakes(
    tool: Callable[..., None], arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        tool(*arguments)
    assert stopped.value.code == 2
    assert words in capsys.readouterr().err
