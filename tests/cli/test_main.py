from __future__ import annotations

import re
import signal
import tempfile
from pathlib import Path

import pytest

import tctrack.cli.datasets
from tctrack.cli import BROKEN, main


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
