from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tctrack.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from tctrack.checkpoint.load import SHIPPED
from tctrack.cli import main
from tctrack.errors import ConfigError
from tests.clips import write_video

cv2 = pytest.importorskip("cv2")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A partial DTB70: one sequence of five small frames."""
    folder = tmp_path / "data" / "DTB70" / "Car6"
    (folder / "img").mkdir(parents=True)
    for number in range(1, 6):
        cv2.imwrite(str(folder / "img" / f"{number:05d}.jpg"), np.full((48, 64, 3), 40 * number, np.uint8))
    (folder / "groundtruth_rect.txt").write_text("".join(f"{10 + number},12,16,12\n" for number in range(5)))
    return tmp_path / "data"


def run_static(root: Path, tmp_path: Path, *extra: str) -> int:
    words = ["--dataset", "DTB70", "--root", str(root), "--tracker", "static", "--results", str(tmp_path / "results")]
    return main(["test", *words, *extra])


def test_from_frames_to_report(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_static(root, tmp_path) == 0
    output = capsys.readouterr()
    assert "DTB70, protocol otb, 1 of 70 sequences" in output.out
    assert "69 missing: Animal1" in output.err

    outputs = {kind: tmp_path / f"out.{kind}" for kind in ("json", "csv", "latex", "html")}
    words = ["--dataset", "dtb70", "--root", str(root), "--results", str(tmp_path / "results"), "--protocol", "got10k"]
    assert main(["eval", *words, *(word for kind, path in outputs.items() for word in (f"--{kind}", str(path)))]) == 0

    assert "protocol got10k" in capsys.readouterr().out
    assert json.loads(outputs["json"].read_text())["trackers"]["static"]["precision_20"] == 1
    assert all(path.stat().st_size for path in outputs.values())


def test_real_time_is_shown_beside_offline(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_static(root, tmp_path) == 0
    capsys.readouterr()

    assert run_static(root, tmp_path, "--realtime", "--fps", "10", "--latency", "40") == 0
    assert run_static(root, tmp_path, "--realtime", "--latency", "recorded") == 0

    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines if line.startswith("static")} >= {
        "static",
        "static@10fps-40ms",
        "static@30fps-recorded",
    }


def test_results_are_kept_unless_resumed(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_static(root, tmp_path) == 0
    assert run_static(root, tmp_path) == 2
    assert "results are there" in capsys.readouterr().err
    assert run_static(root, tmp_path, "--resume") == 0


def test_a_truncated_image_fails_its_sequence(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cut = root / "DTB70" / "Car6" / "img" / "00003.jpg"
    cut.write_bytes(cut.read_bytes()[:-20])
    assert run_static(root, tmp_path) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("failed")]
    assert line.startswith("failed: static on Car6:")
    assert "00003.jpg" in line


def test_results_of_two_runs_are_not_mixed(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*words: str) -> str:
        assert main(["test", *common, *words]) == 2
        return capsys.readouterr().err

    common = ["--dataset", "DTB70", "--root", str(root), "--results", str(tmp_path / "results"), "--resume"]
    weights = tmp_path / "w.safetensors"
    shutil.copy(SHIPPED / "tctrack-lite.safetensors", weights)
    assert main(["test", *common, "--tracker", f"{weights},label=mine"]) == 0
    before = (tmp_path / "results" / "DTB70" / "mine" / "Car6.txt").read_bytes()

    tensors, metadata = read_checkpoint(weights)
    write_checkpoint(weights, Checkpoint({key: value * 1 for key, value in tensors.items()}, metadata | {"by": "me"}))
    assert "files was" in refused("--tracker", f"{weights},label=mine")
    shutil.copy(SHIPPED / "tctrack-lite.safetensors", weights)
    assert "options was {}, is {'lr': 0.3}" in refused("--tracker", f"{weights},label=mine,lr=0.3")
    assert "tracker was" in refused("--tracker", "static,label=mine")
    with monkeypatch.context() as patch:
        patch.setattr("tctrack.__version__", "9.9.9")
        assert "version was" in refused("--tracker", f"{weights},label=mine")
    assert main(["test", *common, "--tracker", f"{weights},label=mine"]) == 0
    (tmp_path / "results" / "DTB70" / "mine" / "run.json").unlink()
    assert "do not say of which" in refused("--tracker", f"{weights},label=mine")
    assert (tmp_path / "results" / "DTB70" / "mine" / "Car6.txt").read_bytes() == before


@pytest.mark.parametrize(
    ("body", "message"),
    [("os.kill(os.getpid(), 11)", "the tracker ended its process (exit code -11)"), ("time.sleep(99)", "no answer")],
)
@pytest.mark.parametrize("where", ["__init__", "update"])
def test_a_tracker_that_crashes_or_hangs_costs_its_sequence(
    where: str,
    body: str,
    message: str,
    root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(root / "DTB70" / "Car6", root / "DTB70" / "Gull1")
    (root / "DTB70" / "Gull1" / "groundtruth_rect.txt").write_text("1,1,9,9\n" * 5)
    (tmp_path / "their_trackers.py").write_text(
        "import os, time, pathlib\n"
        "built = pathlib.Path(__file__).with_name('built')\n"
        "class Bad:\n"
        "    def __init__(self):\n"
        "        built.write_text(f'{built.exists() and built.read_text()}.')\n"
        f"        if {where == '__init__'} and built.read_text() == 'False..': {body}\n"
        "    def init(self, image, box): self.box = box\n"
        "    def update(self, image):\n"
        f"        if {where == 'update'} and self.box[0] != 1: {body}\n"
        "        return self.box\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("tctrack.benchmark.run._BUILDING", (1, 8.0))
    words = ["--dataset", "DTB70", "--root", str(root), "--results", str(tmp_path / "results"), "--timeout", "8"]
    assert main(["test", *words, "--tracker", "their_trackers:Bad,label=bad"]) == 1
    assert f"failed: bad on Car6: {message}" in capsys.readouterr().err
    assert (tmp_path / "results" / "DTB70" / "bad" / "Gull1.txt").is_file()
    assert message in (tmp_path / "results" / "DTB70" / "bad" / "errors" / "Car6.txt").read_text()


def test_a_failing_tracker_is_reported(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_trackers.py").write_text(
        "class Broken:\n"
        "    def init(self, image, box): self.size = image.size\n"
        "    def update(self, image): raise RuntimeError(f'no target in {self.size}')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    words = ["--dataset", "DTB70", "--root", str(root), "--results", str(tmp_path / "results")]

    assert main(["test", *words, "--tracker", "my_trackers:Broken,label=mine"]) == 1

    assert "failed: mine on Car6: RuntimeError: no target in (64, 48)" in capsys.readouterr().err
    assert (tmp_path / "results" / "DTB70" / "mine" / "errors" / "Car6.txt").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--tracker", "statik"], "did you mean 'static'"),
        (["--tracker", "nowhere:Tracker"], "cannot build tracker 'nowhere:Tracker'"),
        (["--tracker", "static,label"], "option 'label' of tracker 'static' must look like key=value"),
        (["--tracker", "static", "static"], "two trackers are called 'static'"),
        (["--tracker", "static", "--repeat", "0"], "--repeat: 0 must be at least 1"),
        (["--tracker", "static", "--workers", "0"], "--workers: 0 must be at least 1"),
        (["--tracker", "static", "--threads", "0"], "--threads: 0 must be at least 1"),
        (["--tracker", "tctrack-lite,lr=abc"], "'lr' must be a finite number, not 'abc'"),
        (["--tracker", "tctrack-lite,lr=.nan"], "'lr' must be a finite number"),
        (["--tracker", "tctrack-lite,lost=-1"], "lost=-1.0 must be at least 0"),
        (["--tracker", "static", "--sequences", "car6"], "did you mean 'Car6'"),
        (["--tracker", "static", "--realtime", "--latency", "slow"], "--latency slow"),
        (["--tracker", "static", "--realtime", "--latency", "inf"], "--latency inf"),
        (["--tracker", "static", "--realtime", "--latency", "recorded"], "no recorded times"),
        (["--tracker", "static", "--realtime", "--fps", "0"], "--fps: 0 must be above 0"),
        (["--tracker", "static", "--realtime", "--fps", "nan"], "--fps: nan must be finite"),
    ],
)
def test_mistakes_get_one_line(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    common = ["--dataset", "DTB70", "--root", str(root), "--results", str(tmp_path / "results")]

    assert main(["test", *common, *words]) == 2

    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("tctrack: error")]
    assert message in line


def test_datasets_lists_what_is_found(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets", "--root", str(root)]) == 0
    everything = capsys.readouterr().out
    assert "found 1 sequences, 5 frames" in everything
    assert "no sequence of UAV123 under" in everything

    assert main(["datasets", "dtb70", "--root", str(root)]) == 0
    assert "FCM  fast camera motion" in capsys.readouterr().out


def test_replay_writes_a_video(root: Path, tmp_path: Path) -> None:
    run_static(root, tmp_path)
    words = ["--dataset", "DTB70", "--root", str(root), "--results", str(tmp_path / "results"), "--sequence", "Car6"]

    assert main(["replay", *words, "--out", str(tmp_path / "out.mp4")]) == 0

    video = cv2.VideoCapture(str(tmp_path / "out.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 5


def test_replay_leaves_the_recording_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "clips").mkdir()
    recording = write_video(tmp_path / "clips/walk.mp4", 3)
    before = recording.read_bytes()
    (tmp_path / "clips/walk.txt").write_text("1,2,9,9\n" * 3)
    words = ["--dataset", "folder", "--root", str(tmp_path / "clips"), "--results", str(tmp_path / "results")]
    assert main(["test", *words, "--tracker", "static"]) == 0

    assert main(["replay", *words, "--sequence", "walk", "--out", str(recording)]) == 2

    assert "--out would replace the input" in capsys.readouterr().err
    assert recording.read_bytes() == before


def test_trackers_are_named_by_their_file() -> None:
    from tctrack.cli.selection import parse_tracker

    assert parse_tracker("runs/lite/best.safetensors,lr=0.5")[0] == "best"
    assert parse_tracker("mine:Tracker")[0] == "Tracker"
    for text, message in (("mil,label=a/b", "cannot name a folder"), ("mil,x={", "is not valid YAML")):
        with pytest.raises(ConfigError, match=message):
            parse_tracker(text)
