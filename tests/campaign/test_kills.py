"""Commands that are killed and run again lose nothing: the end is that of a run that nothing stopped."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest

from tests.campaign.world import build_world
from tests.clips import square_box, square_frames

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
#: Kills of each verb.
KILLS = int(os.environ.get("TCTRACK_KILLS", 25))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("world")
    build_world(root)
    for number in range(6):  # recordings, of which some are done when the kill comes
        folder = root / f"own/r{number}/img"
        folder.mkdir(parents=True)
        for index, frame in enumerate(square_frames(20)):
            cv2.imwrite(str(folder / f"{index:05d}.jpg"), frame)
        boxes = (",".join(f"{value:g}" for value in square_box(index)) for index in range(20))
        (folder.parent / "groundtruth.txt").write_text("\n".join(boxes))
    return root


COMMANDS = {
    "track": ["W/a.mp4", "--box", "20,40,24,24", "--model", "mil", "--boxes", "b.txt", "--jsonl", "j.jsonl"],
    "test": ["--dataset", "DTB70", "--root", "W/data", "--tracker", "static", "mil", "--results", "r", "--resume"],
    "train": ["--config", "W/train.yaml", "out=run", "optim.steps=6", "checkpoint_every=1"],
    "prepare": ["folder", "W/own", "--out", "pack", "--workers", "1", "--size", "128", "--shard-mb", "0.05"],
}


def start(folder: Path, words: list[str]) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tctrack", *words]
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def finish(folder: Path, words: list[str]) -> float:
    """Run a command to its end; return the seconds it took."""
    began = time.monotonic()
    process = start(folder, words)
    _, error = process.communicate(timeout=300)
    assert process.returncode == 0, error.decode()
    return time.monotonic() - began


def results(folder: Path) -> dict[str, bytes]:
    """What does not depend on the speed of a run."""
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    changing = ("_time.txt", ".jsonl", ".pt")
    return {name: path.read_bytes() for name, path in files.items() if not name.endswith(changing)}


@pytest.mark.parametrize("verb", COMMANDS)
def test_kills_lose_nothing(verb: str, world: Path, tmp_path: Path) -> None:
    words = [verb, *(word.replace("W/", f"{world}/") for word in COMMANDS[verb])]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    length = finish(whole, words)
    expected, rng = results(whole), random.Random(verb)
    for _ in range(KILLS):
        process = start(killed, words)
        time.sleep(rng.uniform(0.3, 1) * length)
        process.kill()
        process.communicate()
        for name, data in results(killed).items():
            hidden = any(part.startswith(".") for part in Path(name).parts)
            assert hidden or expected.get(name) == data, f"{name} is not whole"
        if rng.random() < 0.3 and results(killed).keys() >= expected.keys():
            shutil.rmtree(killed)
            killed.mkdir()
    finish(killed, words)
    assert results(killed) == expected
