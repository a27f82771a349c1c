"""Recorded tracks, and the tool that scores trackers on them."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from tctrack.benchmark.sequences import read_tracks
from tctrack.errors import DatasetError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tracks(tmp_path: Path) -> Path:
    """A folder of a source with two videos: seven tracks of a still square in one, a track too short in the other."""
    source = tmp_path / "built" / "source"
    (source / "street").mkdir(parents=True)
    frame = np.full((60, 80, 3), 90, np.uint8)
    frame[20:40, 30:50] = 230
    images = [f"street/{number:03d}.jpg" for number in range(41)]
    for image in images:
        cv2.imwrite(str(source / image), frame)
    long = {f"street/car-{index}": [[image, 30, 20, 20, 20] for image in images] for index in range(7)}
    (source / "tracks.json").write_text(json.dumps({**long, "lane/car-1": [[images[0], 30, 20, 20, 20]] * 9}))
    return source.parent


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Run ``tools/devset.py`` with arguments."""
    spec = importlib.util.spec_from_file_location("devset_tool", ROOT / "tools" / "devset.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def run(*arguments: str | Path) -> None:
        monkeypatch.setattr(sys, "argv", ["devset.py", *map(str, arguments)])
        module.main()

    return run


def test_tracks_are_sequences(tracks: Path) -> None:
    first, *_, short = read_tracks(tracks / "source" / "tracks.json")
    assert first.name == "street_car-0"
    assert (first.boxes == (30, 20, 20, 20)).all()
    assert len(list(first.frames())) == len(first) == 41
    assert len(short) == 9


@pytest.mark.parametrize("text", ["[1, 2]", "{", '{"a/1": [["x.jpg", 1, 2]]}', '{"a/1": 3}'])
def test_files_that_are_no_tracks(tmp_path: Path, text: str) -> None:
    (tmp_path / "tracks.json").write_text(text)
    with pytest.raises(DatasetError, match="mend or rebuild it"):
        read_tracks(tmp_path / "tracks.json")


def test_the_tool_scores_the_longest_tracks_of_each_video(
    tool: Callable[..., None], tracks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tool("static", "static,label=again", "--selection", tracks, "--four-starts")
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("street_car-") for line in lines) == 24
    assert any(line.startswith("static: mean of 24 runs") and "0.952 [ 0.952,  0.952]" in line for line in lines)
    assert "0.000 [ 0.000,  0.000]" in next(line for line in lines if line.startswith("static - again"))


def test_the_tool_explains_a_folder_without_tracks(
    tool: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        tool("static", "--selection", tmp_path)
    assert stopped.value.code == 2
    assert "holds no SOURCE/tracks.json" in capsys.readouterr().err
