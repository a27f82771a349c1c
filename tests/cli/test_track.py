from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from tctrack.cli import main
from tctrack.types import Box, Frame, TrackResult
from tctrack.video import VideoSink, open_source
from tests.clips import square_box, square_frames, write_cut_video, write_video
from tests.published import tiny_model
from tests.screens import Screen, drag

BOX = "20,40,24,24"
ROOT = Path(__file__).resolve().parents[2]
Track = Callable[..., int]


@pytest.fixture(autouse=True)
def no_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "clip.mp4", 12)


def track(*words: object) -> int:
    return main(["track", *map(str, words)])


def read_boxes(path: Path) -> np.ndarray:
    return np.loadtxt(path, delimiter=",", ndmin=2)


def test_a_truncated_image_ends_the_run(video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, boxes = tmp_path / "frames", tmp_path / "boxes.txt"
    assert track(video, "--box", BOX, "--model", "static", "--frames", 5, "--out", folder) == 0
    cut = folder / "000004.jpg"
    cut.write_bytes(cut.read_bytes()[:-200])
    assert track(folder, "--box", BOX, "--model", "static", "--boxes", boxes) == 2
    assert "000004.jpg: the image cannot be read; it is cut" in capsys.readouterr().err
    assert len(read_boxes(boxes)) == 3


def test_all_outputs(video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, boxes, lines = tmp_path / "out.mp4", tmp_path / "boxes.txt", tmp_path / "boxes.jsonl"
    assert track(video, "--box", BOX, "--model", "mil", "--out", out, "--boxes", boxes, "--jsonl", lines) == 0
    found = read_boxes(boxes)
    assert found.shape == (12, 4)
    assert boxes.read_text().splitlines()[0] == "20.000,40.000,24.000,24.000"
    records = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [record["frame"] for record in records] == list(range(12))
    np.testing.assert_array_equal([record["box"] for record in records], found)
    assert all(record["ms"] > 0 for record in records)
    with open_source(out) as source:
        assert source.info == open_source(video).info
        annotated = list(source)
    assert not np.allclose(annotated[5], square_frames(6)[5], atol=60)
    assert re.fullmatch(
        rf"12 frames, tracked at [\d.]+ FPS \(median; p95 [\d.]+\); wrote {out}, {boxes}, {lines}\n",
        capsys.readouterr().out,
    )


def test_start_and_frames(video: Path, tmp_path: Path) -> None:
    boxes, lines, out = tmp_path / "b.txt", tmp_path / "b.jsonl", tmp_path / "frames"
    x, y, w, h = square_box(4)
    options = ("--start", 4, "--frames", 5, "--boxes", boxes, "--jsonl", lines, "--out", out, "--model", "static")
    assert track(video, "--box", f"{x},{y},{w},{h}", *options) == 0
    assert (read_boxes(boxes) == square_box(4)).all()
    assert [json.loads(line)["frame"] for line in lines.read_text().splitlines()] == [4, 5, 6, 7, 8]
    assert [path.name for path in sorted(out.iterdir())] == [f"{number:06d}.jpg" for number in range(1, 6)]


def test_image_folder(tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    for index, frame in enumerate(square_frames(11)):
        cv2.imwrite(str(tmp_path / "frames" / f"img{index:03d}.jpg"), frame)
    outputs = ("--boxes", tmp_path / "b.txt", "--coco", tmp_path / "a.json")
    for source, start in ((tmp_path / "frames", 0), (tmp_path / "frames" / "img%03d.jpg", 3)):
        assert track(source, "--box", BOX, "--model", "static", "--start", start, *outputs) == 0
        assert len(read_boxes(tmp_path / "b.txt")) == 11 - start
        images = json.loads((tmp_path / "a.json").read_text())["images"]
        assert [image["file_name"] for image in images] == [f"img{index:03d}.jpg" for index in range(start, 11)]


def test_a_checkpoint_as_the_model(video: Path, tmp_path: Path) -> None:
    from tctrack.checkpoint.load import save_model

    save_model(tmp_path / "tiny.safetensors", "tctrack", tiny_model("tctrack"))
    options = ("--device", "cpu", "--frames", 4, "--jsonl", tmp_path / "b.jsonl")
    assert track(video, "--box", BOX, "--model", tmp_path / "tiny.safetensors", *options) == 0
    scores = [json.loads(line)["score"] for line in (tmp_path / "b.jsonl").read_text().splitlines()]
    assert scores[0] is None
    assert all(isinstance(score, float) for score in scores[1:])


def test_drawing_the_box(video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --show, the window is there for the drawing alone."""
    screen = Screen(monkeypatch, [None, *drag(20, 40, 44, 64)])
    assert track(video, "--model", "mil", "--boxes", tmp_path / "b.txt") == 0
    assert screen.shown
    assert screen.open == 0
    assert len(read_boxes(tmp_path / "b.txt")) == 12
    assert (read_boxes(tmp_path / "b.txt")[0] == (20, 40, 24, 24)).all()


def test_a_target_drawn_later_has_its_own_file(video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Screen(monkeypatch, ["s", "s", "n", *drag(60, 20, 90, 50), " "])
    options = ("--model", "static", "--show", "--boxes", tmp_path / "b.txt", "--mot", tmp_path / "m.txt")
    assert track(video, "--box", BOX, *options) == 0
    later = read_boxes(tmp_path / "b-2.txt")
    assert len(later) == len(read_boxes(tmp_path / "b.txt"))
    assert np.isnan(later[:2]).all()
    assert (later[3:] == (60, 20, 30, 30)).all()
    rows = [line.split(",") for line in (tmp_path / "m.txt").read_text().splitlines()]
    assert {row[1] for row in rows} == {"1", "2"}


def test_q_ends_the_run_and_keeps_the_results(video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Screen(monkeypatch, ["s", "s", "q"])
    assert track(video, "--box", BOX, "--model", "static", "--show", "--boxes", tmp_path / "b.txt") == 0
    assert len(read_boxes(tmp_path / "b.txt")) == 3


def test_no_box_was_drawn(video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Refusal) -> None:
    Screen(monkeypatch, "q")
    refused("no box was drawn", video, "--model", "static", "--boxes", tmp_path / "b.txt")
    assert list(tmp_path.iterdir()) == []


def test_several_targets(video: Path, tmp_path: Path) -> None:
    (tmp_path / "boxes.csv").write_text("20,40,24,24\n100,10,20,30\n")
    for words in (("--box", BOX, "--box", "100,10,20,30"), ("--box", tmp_path / "boxes.csv")):
        folder = tmp_path / str(len(words))
        outputs = ("--boxes", folder / "b.txt", "--jsonl", folder / "b.jsonl", "--mot", folder / "mot.txt")
        outputs += ("--cvat", folder / "a.xml", "--coco", folder / "a.json")
        assert track(video, *words, "--model", "static", *outputs) == 0
        assert (read_boxes(folder / "b.txt") == (20, 40, 24, 24)).all()
        assert (read_boxes(folder / "b-2.txt") == (100, 10, 20, 30)).all()
        records = [json.loads(line) for line in (folder / "b.jsonl").read_text().splitlines()]
        assert [(record["frame"], record["id"]) for record in records] == [(n, i) for n in range(12) for i in (1, 2)]
        assert [record["time"] for record in records[::2]] == pytest.approx([n / 25 for n in range(12)])
        assert records[1]["offset"] == pytest.approx([110 / 80 - 1, 25 / 60 - 1], abs=1e-4)
        assert len((folder / "mot.txt").read_text().splitlines()) == 24
        assert (folder / "a.xml").read_text().count("<track ") == 2
        assert len(json.loads((folder / "a.json").read_text())["annotations"]) == 24


def test_states_are_said(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Blinker:
        def init(self, frame: Frame, box: Sequence[float]) -> None:
            self.box, self.count = Box(*box), 0

        def update(self, frame: Frame) -> TrackResult:
            self.count += 1
            return TrackResult(self.box, self.count / 20, "lost" if self.count in (3, 4, 5, 9) else "tracked", 0.25)

    monkeypatch.setattr("trackers.tracker_factory", lambda *_, **__: Blinker)
    assert track(video, "--box", BOX, "--jsonl", tmp_path / "b.jsonl") == 0
    assert re.search(r", score 0\.05–0\.55, lost in frames 3–5, 9; wrote", capsys.readouterr().out)
    records = [json.loads(line) for line in (tmp_path / "b.jsonl").read_text().splitlines()]
    assert [record["frame"] for record in records if record["state"] == "lost"] == [3, 4, 5, 9]
    assert records[4]["confidence"] == 0.25


def test_no_output_asked_still_leaves_a_video(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert track(video, "--box", BOX, "--model", "static", "--no-save") == 0
    assert list(tmp_path.iterdir()) == []
    for name in ("clip.tracked.mp4", "clip.tracked-2.mp4"):
        assert track(video, "--box", BOX, "--model", "static") == 0
        assert open_source(tmp_path / name).info.frames == 12
        assert f"wrote {name}" in capsys.readouterr().out


def test_a_target_that_goes_is_lost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By the shipped tracker: said in the records, the summary and the video, and the box does not grow."""
    frames = square_frames(27)
    ground = np.median(frames[::13], axis=0).astype(np.uint8)
    with VideoSink(tmp_path / "clip.mp4", (160, 120), 25) as sink:
        for frame in frames[:20] + 40 * [ground]:
            sink.write(frame)
    outputs = ("--jsonl", tmp_path / "b.jsonl", "--out", tmp_path / "o.webm")
    assert track(tmp_path / "clip.mp4", "--box", BOX, "--device", "cpu", *outputs) == 0
    records = [json.loads(line) for line in (tmp_path / "b.jsonl").read_text().splitlines()]
    states = [state for state, _ in itertools.groupby(record["state"] for record in records)]
    assert states[0] == "tracked"
    assert states[-1] == "lost"
    first = [record["state"] for record in records].index("lost")
    assert f"lost in frames {first}–59; wrote" in capsys.readouterr().out
    assert max(record["box"][2] * record["box"][3] for record in records) < 4 * 24 * 24
    assert records[10]["confidence"] > 0.5 > records[-1]["confidence"]
    *_, last = open_source(tmp_path / "o.webm")
    assert ((last[..., 2] > 150) & (last[..., 1] < 110)).sum() > 20  # red


def test_written_videos(tmp_path: Path, capfd: pytest.CaptureFixture[str], refused: Refusal) -> None:
    """Any rate keeps its times; odd sizes are padded, which is said; what browsers do not play is refused by name."""
    with VideoSink(tmp_path / "uneven.mp4", (160, 120)) as sink:
        for frame, time_ in zip(square_frames(4), (0, 0.1, 0.5, 1.25), strict=True):
            sink.write(frame, time_)
    (tmp_path / "odd").mkdir()
    for index, frame in enumerate(square_frames(4)):
        cv2.imwrite(str(tmp_path / "odd" / f"{index}.png"), frame[:119, :159])
    for suffix in (".mp4", ".mkv", ".webm"):
        out = tmp_path / f"out{suffix}"
        assert track(tmp_path / "uneven.mp4", "--box", BOX, "--model", "static", "--out", out) == 0
        with open_source(out) as source:
            assert [source.time for _ in source] == pytest.approx([0, 0.1, 0.5, 1.25], abs=2e-3)
        assert capfd.readouterr().err == ""
        assert track(tmp_path / "odd", "--box", BOX, "--model", "static", "--out", out) == 0
        assert "(padded to 160x120)" in capfd.readouterr().out
        assert open_source(out).info[:2] == (160, 120)
    words = (tmp_path / "odd", "--box", BOX, "--model", "static", "--out", tmp_path / "out.avi")
    refused(r"out\.avi: a video's name must end in \.mp4, \.mov, \.mkv, \.webm", *words)


def run_on_bytes(data: bytes, *words: object) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "tctrack", "track", "-", *map(str, words)]
    return subprocess.run(command, input=data, capture_output=True, cwd=ROOT, check=False, timeout=120)


def test_standard_input_and_output() -> None:
    """Motion JPEG in, JSON lines out, and nothing else on standard output."""
    data = b"".join(cv2.imencode(".jpg", frame)[1].tobytes() for frame in square_frames(12))
    done = run_on_bytes(data, "--box", BOX, "--model", "static", "--jsonl", "-")
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["frame"] for line in done.stdout.splitlines()] == list(range(12))
    assert done.stderr.endswith(b"wrote standard output\n")
    done = run_on_bytes(b"no video", "--box", BOX, "--model", "static", "--jsonl", "-")
    assert done.returncode == 2
    assert done.stderr == (
        b"tctrack: error: standard input: no frame can be decoded; the file is damaged or no video\n"
    )


def test_raw_h264_on_standard_input(tmp_path: Path) -> None:
    raw = tmp_path / "a.h264"
    with av.open(str(raw), "w", format="h264") as file:
        stream = file.add_stream("libx264", 25)
        stream.width, stream.height = 160, 120
        for frame in square_frames(12):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="bgr24")))
        file.mux(stream.encode(None))
    done = run_on_bytes(raw.read_bytes(), "--box", BOX, "--model", "static", "--jsonl", "-", "--live")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["frame"] == 11


def test_addresses(video: Path, refused: Refusal) -> None:
    refused(r"unknown kind of address 'ftp://'; choose one of", "ftp://user:secret@host/x", "--box", BOX)
    refused("pictures go to files", video, "--box", BOX, "--model", "static", "--out", "udp://127.0.0.1:9")
    refused("udp://host:port", video, "--box", BOX, "--model", "static", "--jsonl", "tcp://127.0.0.1:9")


def test_credentials_are_not_said(capfd: pytest.CaptureFixture[str]) -> None:
    assert track("rtsp://pilot:secret@127.0.0.1:9/x", "--box", BOX, "--model", "static", "--no-save") == 2
    found = capfd.readouterr()
    assert "127.0.0.1:9/x: cannot be opened" in found.err
    assert not {"pilot", "secret"} & set(re.findall(r"\w+", found.out + found.err))


class Refusal:
    """One error line and exit code 2, and neither OpenCV nor FFmpeg says anything."""

    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self._capfd = capfd

    def __call__(self, message: str, *words: object) -> None:
        assert track(*words) == 2
        error = self._capfd.readouterr().err
        assert error.count("\n") == 1, error
        assert error.startswith("tctrack: error: ")
        assert re.search(message, error), error


@pytest.fixture
def refused(capfd: pytest.CaptureFixture[str]) -> Refusal:
    return Refusal(capfd)


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ("20,40,0,24", "no area"),
        ("20,40,24,-24", "no area"),
        ("nan,40,24,24", "four finite numbers"),
        ("20,40,inf,24", "four finite numbers"),
        ("160,40,24,24", "outside the 160x120 frame"),
        ("20,400,24,24", "outside the 160x120 frame"),
        ("20,40,24", "four finite numbers"),
        ("20,40,24,24,5", "four finite numbers"),
        ("20 40 24 24", "--box '20 40 24 24' must be four numbers"),
        ("", "--box '' must be four numbers"),
    ],
)
def test_boxes(box: str, message: str, video: Path, tmp_path: Path, refused: Refusal) -> None:
    refused(message, video, "--box", box, "--model", "mil", "--boxes", tmp_path / "b.txt")
    assert list(tmp_path.iterdir()) == []


def test_missing_file(tmp_path: Path, refused: Refusal) -> None:
    refused(r"missing\.mp4: there is no such", tmp_path / "missing.mp4", "--box", BOX, "--model", "mil")


def test_text_file_named_mp4(tmp_path: Path, refused: Refusal) -> None:
    (tmp_path / "text.mp4").write_text("1,2,3,4\n" * 200)
    refused(r"text\.mp4: no frame can be decoded", tmp_path / "text.mp4", "--box", BOX, "--model", "mil")


def test_video_cut_before_its_index(video: Path, tmp_path: Path, refused: Refusal) -> None:
    (tmp_path / "cut.mp4").write_bytes(video.read_bytes()[:-500])
    refused(r"cut\.mp4: no frame can be decoded", tmp_path / "cut.mp4", "--box", BOX, "--model", "mil")


def test_video_cut_within_its_frames_keeps_the_results(tmp_path: Path, refused: Refusal) -> None:
    cut = write_cut_video(tmp_path / "cut.avi", 40, 0.5)
    boxes, out = tmp_path / "b.txt", tmp_path / "o.mp4"
    refused("ends after", cut, "--box", BOX, "--model", "static", "--boxes", boxes, "--out", out)
    assert 10 < len(read_boxes(boxes)) < 30
    assert open_source(out).info.frames == len(read_boxes(boxes))


def test_no_camera(refused: Refusal) -> None:
    for name in ("97", "/dev/video97"):
        refused("camera 97: cannot be opened", name, "--box", BOX, "--model", "mil")


def test_no_stream(refused: Refusal) -> None:
    refused("rtsp://127.0.0.1:9/x: cannot be opened", "rtsp://127.0.0.1:9/x", "--box", BOX, "--model", "mil")


@pytest.mark.parametrize("option", ["--out", "--boxes", "--jsonl"])
@pytest.mark.parametrize("folder", ["/proc", "a file"])
def test_unwritable_output(option: str, folder: str, video: Path, tmp_path: Path, refused: Refusal) -> None:
    if folder == "a file":
        (tmp_path / "file").touch()
        folder = str(tmp_path / "file")
    elif not Path(folder).is_dir():
        pytest.skip("no /proc on this system")
    refused(r"cannot write '.*out\.mp4'", video, "--box", BOX, "--model", "mil", option, f"{folder}/out.mp4")


def test_outputs_do_not_overwrite_the_source_or_each_other(video: Path, tmp_path: Path, refused: Refusal) -> None:
    before = video.read_bytes()
    refused("must be different files", video, "--box", BOX, "--model", "mil", "--out", video)
    same = tmp_path / "same"
    refused("must be different files", video, "--box", BOX, "--model", "mil", "--boxes", same, "--jsonl", same)
    assert video.read_bytes() == before


def test_no_display(video: Path, refused: Refusal) -> None:
    refused("--show needs a display", video, "--box", BOX, "--model", "mil", "--show")
    refused("without --box.* needs a display", video, "--model", "mil")


def test_an_opencv_without_windows(video: Path, refused: Refusal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "GUI:   NONE")
    refused(r"\.\[gui\]", video, "--box", BOX, "--model", "mil", "--show")


def test_trackers(video: Path, tmp_path: Path, refused: Refusal) -> None:
    refused("unknown tracker 'mill'; did you mean 'mil'", video, "--box", BOX, "--model", "mill")
    refused("unexpected keyword argument 'weights'", video, "--box", BOX, "--model", "mil", "--weights", "x")
    refused("no device 'abacus'", video, "--box", BOX, "--model", make_checkpoint(tmp_path), "--device", "abacus")
    refused("no model or checkpoint", video, "--box", BOX, "--model", tmp_path / "none.pth")


def make_checkpoint(folder: Path) -> Path:
    from tctrack.checkpoint.load import save_model

    save_model(folder / "tiny.safetensors", "tctrack", tiny_model("tctrack"))
    return folder / "tiny.safetensors"


@pytest.mark.parametrize(
    ("options", "message"), [(("--start", 99), "cannot start at frame 99 of 12"), (("--frames", 0), "0 frames")]
)
def test_ranges(options: tuple[object, ...], message: str, video: Path, refused: Refusal) -> None:
    refused(message, video, "--box", BOX, "--model", "mil", *options)


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stop_keeps_the_results(tmp_path: Path, stop: signal.Signals) -> None:
    """A real interrupt of a real process, in the middle of a long video."""
    video, lines = write_video(tmp_path / "long.mp4", 1000), tmp_path / "b.jsonl"
    command = [sys.executable, "-m", "tctrack", "track", video, "--box", BOX, "--model", "mil", "--jsonl", lines]
    process = subprocess.Popen(
        list(map(str, command)), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        # A background job ignores Ctrl-C, and nohup the closed shell.
        preexec_fn=lambda: (
            signal.signal(signal.SIGINT, signal.default_int_handler), signal.signal(signal.SIGHUP, signal.SIG_DFL)
        ),
    )  # fmt: skip
    part = None
    while part is None or part.stat().st_size == 0:
        assert process.poll() is None
        part = next(tmp_path.glob(".b.*"), None)
        time.sleep(0.05)
    process.send_signal(stop)
    out, error = process.communicate(timeout=120)
    assert process.returncode == 130
    assert error == "tctrack: interrupted\n"
    count = int(re.match(r"(\d+) frames", out)[1])  # type: ignore[index]
    written = [json.loads(line)["frame"] for line in lines.read_text().splitlines()]
    assert written == list(range(len(written)))
    assert 0 <= count - len(written) <= 1 < 1000 - count
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.jsonl", "long.mp4"]


def test_a_name_with_a_colon_is_no_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "clip.mp4", 4).rename(tmp_path / "12:30:00.mp4")
    assert track("12:30:00.mp4", "--box", BOX, "--model", "static", "--out", "12:31.mp4") == 0
    with open_source("12:31.mp4") as source:
        assert len(list(source)) == 4


def test_no_output_goes_into_the_folder_of_frames(video: Path, tmp_path: Path, refused: Refusal) -> None:
    out = tmp_path / "frames"
    refused("cannot hold another output", video, "--box", BOX, "--out", out, "--boxes", out / "boxes.txt")
