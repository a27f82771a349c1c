from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tctrack.benchmark.speed import render_html
from tctrack.checkpoint.load import save_model
from tctrack.cli import main
from tests.clips import square_box, write_video
from tests.published import tiny_model


@pytest.fixture(autouse=True)
def _threads_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


class _Balance(HTMLParser):
    """Collects tags, and checks that each is closed in its place."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.append(tag)
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_models_and_batches_are_profiled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_model(tmp_path / "tiny.safetensors", "tctrack", tiny_model("tctrack"))
    video = write_video(tmp_path / "clip.mp4", 20)
    box = ",".join(map(str, square_box(0)))
    given = [
        "--source",
        str(video),
        "--box",
        box,
        "--model",
        f"{tmp_path}/tiny.safetensors,label=small",
        "--model",
        "static",
    ]
    files = ["--json", str(tmp_path / "speed.json"), "--html", str(tmp_path / "speed.html")]
    slow, fast = "small:torch:x2", "static:x2"
    assert main(["profile", *given, *files, "--engine", "all", "--batch", "2", "--compare", f"{slow},{fast}"]) == 0

    printed = capsys.readouterr().out
    assert f"{slow} takes " in printed
    assert "not measured: small:onnx: " in printed
    report = json.loads((tmp_path / "speed.json").read_text())
    assert report["machine"]["threads"] == 1
    assert report["machine"]["peak"]["product_gflops"] > 0
    assert report["video"] == {"width": 160, "height": 120, "frames": 9}
    assert list(report["engines"]) == [slow, fast]
    for figures in report["engines"].values():
        assert sum(stage["mean_ms"] for stage in figures["stages"].values()) == pytest.approx(
            figures["total"]["mean_ms"], rel=0.05
        )
        assert figures["total"]["p99_ms"] >= figures["total"]["p95_ms"] >= figures["total"]["median_ms"] > 0
        assert figures["fps"]["without_decoding"] > figures["fps"]["with_decoding"]
        assert figures["peak_memory_mb"] > 10
    assert {"motion", "crop", "network", "choose"} <= set(report["engines"][slow]["stages"])
    assert report["engines"][slow]["parameters"] > 0
    assert report["engines"][slow]["macs"] > 0
    assert report["engines"][fast]["macs"] is None
    assert report["comparison"]["median"] > 1

    page = _Balance((tmp_path / "speed.html").read_text())
    assert not page.open
    assert page.seen.count("svg") == 1
    assert page.seen.count("rect") == 12  # eight stages, and four


def test_names_cannot_break_the_page() -> None:
    spread = {"median_ms": 1.0, "p95_ms": 1.0, "p99_ms": 1.0, "mean_ms": 1.0, "jitter_ms": 0.0}
    figures = {
        "batch": 1, "parameters": None, "macs": None, "peak_memory_mb": 1.0, "total": spread, "update": spread,
        "stages": {"other": spread}, "fps": {"without_decoding": 1.0, "with_decoding": 1.0}, "share_of_peak": {},
    }  # fmt: skip
    about = {"processor": "<b>", "cores": 1, "threads": 1, "gpu": None, "system": "&", "versions": {"tctrack": "1"}}
    page = render_html(
        {
            "machine": {**about, "peak": {"product_gflops": 1.0, "copy_gb_s": 1.0}},
            "video": {"width": 1, "height": 1, "frames": 2},
            "engines": {"<b>": figures},
            "missing": {"<b>": "<b>"},
        }
    )
    assert "<b>" not in page
    assert not _Balance(page).open


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--engine", "onyx"], "unknown engine 'onyx'; did you mean 'onnx'"),
        (["--engine", "openvino", "--model", "tctrack"], "tctrack export"),
        (["--model", "statix"], "unknown tracker 'statix'; did you mean 'static'"),
        (["--model", "static", "--model", "static"], "two are called 'static'"),
        (["--model", "static,lr"], "option 'lr' of tracker 'static' must look like key=value"),
        (["--model", "static", "--compare", "static"], "must be two of: static"),
        (["--model", "static", "--compare", "static,mil"], "'mil' is not measured"),
        (["--model", "static", "--batch", "1,0"], "--batch"),
        (["--box", "1,2,3,4"], "--box goes with a --source"),
        (["--source", "a.mp4"], "--source needs the target's --box"),
        (["--source", "a.mp4", "--box", "here"], "four numbers"),
        (["--json", "speed", "--html", "speed"], "--json and --html would write 'speed'"),
        (["--threads", "0"], "--threads"),
        (["--frames", "1"], "--frames"),
    ],
)
def test_bad_requests_end_with_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("tctrack: error: ")
    assert message in error
    assert error.count("\n") == 1
