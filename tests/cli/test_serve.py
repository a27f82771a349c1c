from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Any

import pytest

from tctrack.cli import main

uvicorn = pytest.importorskip("uvicorn", reason="the extra 'serve' is not installed")


@pytest.fixture(autouse=True)
def served(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Serve nothing; return the addresses listened at."""
    addresses: list[Any] = []

    def run(_: Any, sockets: list[socket.socket]) -> None:
        for listener in sockets:
            addresses.append(listener.getsockname())
            listener.close()

    monkeypatch.setattr(uvicorn.Server, "run", run)
    return addresses


def serve(*words: object) -> int:
    return main(["serve", "--model", "static", *map(str, words)])


def test_it_listens_to_this_machine_alone(served: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert serve("--port", 0) == 0
    (host, port), *_ = served
    assert host == "127.0.0.1"
    assert f"http://127.0.0.1:{port}/ " in capsys.readouterr().out


def test_elsewhere_it_prints_a_token(served: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert serve("--port", 0, "--host", "0.0.0.0") == 0
    assert served[0][0] == "0.0.0.0"
    found = re.search(r"http://(\S+):\d+/\?token=(\S+)", capsys.readouterr().out)
    assert found
    assert found[1] != "0.0.0.0"
    assert len(found[2]) > 16
    assert serve("--port", 0, "--host", "0.0.0.0", "--token", "mine") == 0
    assert "?token=mine " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["--root", "nowhere"], "--root nowhere is no folder"),
        (["nowhere.mp4"], "nowhere.mp4: there is no such video"),
        (["--host", "203.0.113.7"], "choose another --host or --port"),
        (["--port", "70000"], "65535"),
        (["--max-upload", "0"], "--max-upload"),
    ],
)
def test_bad_requests_end_with_one_line(
    words: list[str], hint: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert serve(*words) == 2
    error = capsys.readouterr().err
    assert hint in error
    assert error.count("\n") == 1
