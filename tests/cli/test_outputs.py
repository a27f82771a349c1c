"""What the verbs write replaces no input and no whole result, and stays where it belongs; else they end in one line."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tctrack.checkpoint import Checkpoint, write_checkpoint
from tctrack.cli import main
from tctrack.types import Frame
from tctrack.video import Source, open_source
from tests.clips import square_frames, write_cut_video, write_video

Refuse = Callable[..., None]
BOX = ("--box", "20,40,24,24", "--model", "static")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def refused(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Refuse:
    """Run a verb in ``tmp_path``: exit code 2, one line with the message, and no file changed, new or gone."""
    monkeypatch.chdir(tmp_path)

    def state() -> dict[Path, bytes | None]:
        return {path: path.read_bytes() if path.is_file() else None for path in tmp_path.rglob("*")}

    def refuse(message: str, *words: object) -> None:
        before = state()
        capfd.readouterr()
        assert main([str(word) for word in words]) == 2
        error = capfd.readouterr().err
        assert error.startswith("tctrack: error: "), error
        assert error.count("\n") == 1, error
        assert message in error
        assert state() == before

    return refuse


@pytest.fixture
def bench(tmp_path: Path) -> list[str]:
    """A sequence of DTB70 with the results of a tracker, and the words that name them."""
    folder = tmp_path / "data" / "Car6"
    (folder / "img").mkdir(parents=True)
    for number in range(1, 6):
        cv2.imwrite(str(folder / "img" / f"{number:05d}.jpg"), np.full((48, 64, 3), 40 * number, np.uint8))
    (folder / "groundtruth_rect.txt").write_text("".join(f"{10 + number},12,16,12\n" for number in range(5)))
    words = ["--dataset", "DTB70", "--root", str(tmp_path / "data"), "--results", str(tmp_path / "results")]
    assert main(["test", *words, "--tracker", "static"]) == 0
    return words


def test_track_keeps_its_source(tmp_path: Path, refused: Refuse) -> None:
    source = write_video(tmp_path / "a.mp4", 5)
    (tmp_path / "link.mp4").symlink_to("a.mp4")
    os.link(source, tmp_path / "second.mp4")
    (tmp_path / "frames").mkdir()
    for index, frame in enumerate(square_frames(3)):
        cv2.imwrite(str(tmp_path / "frames" / f"{index}.png"), frame)
    for given, *outputs in (
        (f"file://{source}", "--out", "a.mp4"),
        (f"file://{source}", "--jsonl", "link.mp4"),
        ("a.mp4", "--out", "link.mp4"),
        ("link.mp4", "--boxes", "a.mp4"),
        ("a.mp4", "--out", "second.mp4"),
        ("frames", "--boxes", "frames/1.png"),
        ("frames", "--out", tmp_path / "frames"),
    ):
        refused("would replace the input", "track", given, *BOX, *outputs)


def test_track_keeps_its_weights(tmp_path: Path, refused: Refuse) -> None:
    write_video(tmp_path / "a.mp4", 5)
    write_checkpoint(tmp_path / "w.safetensors", Checkpoint({"a": torch.zeros(1)}, {}))
    words = ("track", "a.mp4", "--box", "20,40,24,24", "--boxes", "w.safetensors")
    refused("would replace the input", *words, "--weights", "w.safetensors")
    refused("would replace the input", *words, "--model", "w.safetensors")
    (tmp_path / "box.txt").write_text("20,40,24,24\n")
    words = ("track", "a.mp4", "--box", "box.txt", "--model", "static")
    refused("would replace the input", *words, "--boxes", "box.txt")
    refused("would replace the input", *words, "--jsonl", "./box.txt")


def test_eval_and_replay_keep_what_they_read(bench: list[str], tmp_path: Path, refused: Refuse) -> None:
    result, truth = "results/DTB70/static/Car6.txt", "data/Car6/groundtruth_rect.txt"
    (tmp_path / "link").symlink_to(result)
    os.mkfifo(tmp_path / "fifo")
    verb = ("eval", *bench, "--protocol", "otb")
    for path in (result, truth, "link", "data/Car6/img/00001.jpg", "results/DTB70/static/times/Car6_time.txt"):
        for option in ("--json", "--csv", "--latex", "--html"):
            refused("would replace the input", *verb, option, path)
    refused("they must be different files", *verb, "--json", "e", "--csv", "./e")
    for path in ("fifo", "/dev/null", "data"):
        refused("no regular file", *verb, "--json", path)
    for path in ("fifo", "data", f"{result}/x"):
        refused("cannot write", *verb, "--json", "e", "--html", path)
    for path in (truth, "link", "data/Car6/img"):
        refused("would replace the input", "replay", *bench, "--sequence", "Car6", "--out", path)


def test_convert_demo_and_trainings_keep_what_they_read(tmp_path: Path, refused: Refuse) -> None:
    (tmp_path / "w.pth").write_bytes(b"weights")
    (tmp_path / "w.safetensors").symlink_to("w.pth")
    refused("would replace the input", "convert", "w.pth", "--out", "w.safetensors")
    (tmp_path / "out").mkdir()
    for name in ("clip.mp4", "tctrack-lite.safetensors", "best.safetensors", "model.safetensors", "results.json"):
        (tmp_path / "out" / name).write_bytes(b"an input")
    refused("would replace the input", "demo", "--weights", "out/clip.mp4", "--out", "out")
    for name in ("tctrack-lite", "best"):
        refused("would replace the input", "train", f"initial=out/{name}.safetensors", "out=out", "workers=0")
    words = ("train-action", "--config", "action/tada2d_r50_kinetics400", "train.path=none", "out=out")
    refused("would replace the input", *words, "image_weights=out/model.safetensors")
    words = ("train-localizer", "--config", "action/bmn_hacs", "features=out", "out=out")
    refused("would replace the input", *words, "annotations=out/results.json")


def test_export_keeps_its_weights(tmp_path: Path, refused: Refuse) -> None:
    write_checkpoint(tmp_path / "w.safetensors", Checkpoint({"a": torch.zeros(1)}, {}))
    refused("would replace the input", "export", "--model", "w.safetensors", "--out", "./w.safetensors")


def test_prepare_keeps_another_manifest(tmp_path: Path, refused: Refuse) -> None:
    write_video(tmp_path / "a.mp4", 3)
    (tmp_path / "a.txt").write_text("20,40,24,24\n" * 3)
    (tmp_path / "manifest.json").write_text("{}")
    refused("is not of this pack", "prepare", "folder", tmp_path, "--out", tmp_path, "--workers", "0")


@pytest.mark.parametrize("name", ["../../../x", "..", "a/b", "/x", "a\nb", ""])
def test_names_in_annotations_stay_below_the_results(name: str, tmp_path: Path, refused: Refuse) -> None:
    (tmp_path / "deep" / "root").mkdir(parents=True)
    (tmp_path / "deep" / "root" / "DTB70.json").write_text(json.dumps({name: {"gt": [[1, 2, 3, 4]] * 2}}))
    words = ("--dataset", "DTB70", "--root", "deep/root", "--results", "deep/results")
    refused("which no file can be", "test", *words, "--tracker", "static")


@pytest.mark.parametrize("label", ["..", ".", "a/b", "../x", ""])
def test_labels_stay_below_the_results(label: str, bench: list[str], refused: Refuse) -> None:
    refused(
        "cannot name a folder of results", "test", *bench, "--sequences", "Car6", "--tracker", f"static,label='{label}'"
    )


def test_names_of_tracks_stay_below_the_pack(tmp_path: Path, refused: Refuse) -> None:
    """They become names in a .tar, which whoever unpacks it would follow."""
    (tmp_path / "coco" / "val").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "x.png"), square_frames(1)[0])
    content = {
        "images": [{"id": 1, "file_name": "../../x.png"}],
        "annotations": [{"image_id": 1, "bbox": [20, 40, 24, 24]}],
    }
    (tmp_path / "coco" / "annotations").mkdir()
    (tmp_path / "coco" / "annotations" / "instances_val.json").write_text(json.dumps(content))
    (tmp_path / "pack").mkdir()
    assert main(["prepare", "coco", str(tmp_path / "coco"), "--out", str(tmp_path / "pack"), "--workers", "0"]) == 2
    assert list((tmp_path / "pack").iterdir()) == []


def test_a_run_that_ends_early_keeps_the_whole_result(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    outputs = ("--out", tmp_path / "o.mp4", "--boxes", tmp_path / "b.txt", "--jsonl", tmp_path / "b.jsonl")

    def track(source: Path) -> int:
        return main(list(map(str, ("track", source, *BOX, *outputs))))

    whole, cut = write_video(tmp_path / "whole.mp4", 40), write_cut_video(tmp_path / "cut.avi", 40, 0.5)
    assert track(whole) == 0
    capfd.readouterr()
    assert track(cut) == 2
    partial = [tmp_path / name for name in ("o.partial.mp4", "b.partial.txt", "b.partial.jsonl")]
    assert f"wrote {', '.join(map(str, partial))}\n" in capfd.readouterr().out
    assert open_source(tmp_path / "o.mp4").info.frames == 40
    assert len((tmp_path / "b.txt").read_text().splitlines()) == 40
    frames = len((tmp_path / "b.partial.txt").read_text().splitlines())
    assert 10 < frames < 30
    assert open_source(tmp_path / "o.partial.mp4").info.frames == frames
    assert track(whole) == 0
    assert len((tmp_path / "b.jsonl").read_text().splitlines()) == 40


class _Endless(Source):
    """A camera that shows a video, and is stopped by Ctrl-C after three frames."""

    def __init__(self, path: Path) -> None:
        self._video = open_source(path)
        self.info = self._video.info._replace(live=True, frames=None)

    def __iter__(self) -> Iterator[Frame]:
        yield from itertools.islice(self._video, 3)
        raise KeyboardInterrupt


def test_a_stream_is_whole_where_it_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video, boxes = write_video(tmp_path / "a.mp4", 9), tmp_path / "b.txt"
    boxes.write_text("yesterday's\n")
    monkeypatch.setattr("tctrack.video.open_source", lambda path, *_: _Endless(Path(path)))
    assert main(["track", str(video), *BOX, "--boxes", str(boxes)]) == 130
    assert len(boxes.read_text().splitlines()) == 3
    assert not (tmp_path / "b.partial.txt").exists()


def test_a_name_that_is_not_utf8_costs_its_sequence_alone(tmp_path: Path) -> None:
    """In a process of its own, since OpenCV ends the process on such a name."""
    for name, image in (("good", "2.png"), ("bad", "caf\udce9.png")):
        (tmp_path / "data" / name).mkdir(parents=True)
        for index, frame in enumerate(square_frames(2)):
            data = cv2.imencode(".png", frame)[1].tobytes()
            (tmp_path / "data" / name / (image if index else "1.png")).write_bytes(data)
        (tmp_path / "data" / f"{name}.txt").write_text("20,40,24,24\n" * 2)
    words = ["--dataset", "folder", "--root", "data", "--tracker", "static", "--results", "r"]
    command = [sys.executable, "-m", "tctrack", "test", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:  # images may also be read from their bytes, by whatever name
        assert done.returncode == 1, done
        assert "failed: static on bad" in done.stderr
    assert "static" in done.stdout


def test_what_a_killed_run_left_goes_with_the_next(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", 1000)
    outputs = ["--out", "o.mp4", "--boxes", "b.txt", "--jsonl", "b.jsonl"]
    command = [sys.executable, "-m", "tctrack", "track", "a.mp4", "--box", "20,40,24,24", "--model", "mil", *outputs]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment)
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size for path in tmp_path.glob(".b.*.jsonl")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 4
    done = subprocess.run([*command, "--frames", "3"], cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 0
    assert {path.name for path in tmp_path.iterdir()} == {"a.mp4", "o.mp4", "b.txt", "b.jsonl"}
