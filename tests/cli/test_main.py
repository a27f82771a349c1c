from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tqdm import tqdm

import tctrack.cli.datasets
from tctrack.cli import BROKEN, main
from tctrack.errors import ConfigError
from tests.clips import write_video


def _fail(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> int:
    def run(_: object) -> int:
        raise error

    monkeypatch.setattr(tctrack.cli.datasets, "run", run)
    return main(["datasets"])


def test_an_unforeseen_failure_ends_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("TCTRACK_DEBUG", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert _fail(monkeypatch, ValueError("two\nlines")) == BROKEN
    (line,) = capsys.readouterr().err.splitlines()
    found = re.fullmatch(r"tctrack: failed: ValueError: two lines; please report it with (\S+)", line)
    assert found
    assert "Traceback" in Path(found[1]).read_text()

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    assert _fail(monkeypatch, ValueError("again")) == BROKEN
    assert capsys.readouterr().err == "tctrack: failed: ValueError: again; TCTRACK_DEBUG=1 shows where\n"

    monkeypatch.setenv("TCTRACK_DEBUG", "1")
    assert _fail(monkeypatch, ValueError("shown")) == BROKEN
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        (
            "{} track a.mp4 --box 20,40,24,24 --model static --boxes b.txt <&- >&- 2>&- && cat b.txt >&2",
            0,
            "20.000,40.000",
        ),
        ("{} datasets >/dev/full", 2, "tctrack: error: cannot write what is printed: No space left on device\n"),
        (
            "{} track a.mp4 --box 2,2,9,9 --model static --no-save >/dev/full",
            2,
            "tctrack: error: cannot write what is printed: No space left on device\n",
        ),
        ("ulimit -f 0; {} track a.mp4 --box 2,2,9,9 --model static --out o.mp4", 2, "tctrack: error: o.mp4: the video"),
        (
            "ulimit -f 0; {} track a.mp4 --box 2,2,9,9 --model static --coco o; test ! -e o",
            0,
            "tctrack: error: cannot write 'o': File too large",
        ),
        ("mkdir d && cd d && rmdir ../d && {} datasets", 2, "tctrack: error: the current folder is gone"),
    ],
)
def test_odd_surroundings(command: str, code: int, message: str, tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", 2)
    shell = command.format(f"{sys.executable} -m tctrack")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    done = subprocess.run(shell, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.stderr.startswith(message), done
    assert done.returncode == code


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (PermissionError(13, "Permission denied", "/x"), "error: /x: Permission denied"),
        (MemoryError(), "error: this needs more memory"),
    ],
)
def test_failures_of_the_system_are_named(
    error: Exception, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _fail(monkeypatch, error) == 2
    assert message in capsys.readouterr().err


def test_arguments_are_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["tracck"], ["demo", "--seed", "x"], ["demo", "--frames", "1"], ["eval"]):
        assert main(words) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("tctrack: error: ")
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.fixture
def _heeding_signals() -> Iterator[None]:
    """A background job ignores Ctrl-C, and nohup the closed shell; heed them as a command in a terminal does."""
    default = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in default.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("_heeding_signals")
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_is_one_whatever_a_library_makes_of_it(
    stop: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Safetensors turns one that comes while it reads a file into a ValueError."""

    def read(_: Path) -> None:
        try:
            signal.raise_signal(stop)
        except KeyboardInterrupt:
            raise ValueError("could not determine the shape of object type 'torch.storage.UntypedStorage'") from None

    monkeypatch.setattr("tctrack.checkpoint.io._read_safetensors", read)
    video = write_video(tmp_path / "a.mp4", 3)
    (tmp_path / "w.safetensors").touch()
    words = ["track", str(video), "--box", "20,40,24,24", "--model", str(tmp_path / "w.safetensors")]
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    assert main([*words, "--boxes", str(tmp_path / "b.txt")]) == 130
    assert capsys.readouterr().err == "tctrack: interrupted\n"
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == handlers


def test_errors_have_a_line_of_their_own(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    bars = []

    def run(_: object) -> int:
        bars.append(tqdm(total=9, mininterval=0, file=sys.stderr))
        bars[0].update()
        raise ConfigError("a mistake")

    monkeypatch.setattr(tctrack.cli.datasets, "run", run)
    assert main(["datasets"]) == 2
    assert re.search(r"1/9 [^\n]*\ntctrack: error: a mistake\n$", capsys.readouterr().err)


def test_names_that_are_no_text_are_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert _fail(monkeypatch, PermissionError(13, "Permission denied", "caf\udce9")) == 2
    assert main(["datasets", "DTB70", "--root", str(tmp_path / "caf\udce9")]) == 2
    assert capfd.readouterr().err.count("caf\\udce9") >= 2


def test_no_password_is_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert _fail(monkeypatch, OSError(5, "no route", "rtsp://pilot:s3cret@cam/live")) == 2
    assert _fail(monkeypatch, ValueError("rtsp://pilot:s3cret@cam/live")) == BROKEN
    error = capsys.readouterr().err
    assert error.count("rtsp://***@cam/live") == 2
    assert "s3cret" not in error + Path(error.split()[-1]).read_text()
