"""Writing whole or not at all, also when the power fails, the disk is full, or the process is killed."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tctrack.errors import DatasetError, DependencyError, OutputError, SourceError, mask, require
from tctrack.files import Draft, check_outputs, is_name, natural_key, read_json, read_text, write_bytes, write_text
from tctrack.video import BoxSink, FrameSink, open_source
from tests.clips import square_frames, write_video

OLD, NEW = b"the one before", b"the new one"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class Disk:
    """What a power loss would leave of a folder: the bytes and the names that were synced, and no others."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self._folder, self._fsync, self._rename = folder, os.fsync, Path.replace
        self._bytes = {path.stat().st_ino: path.read_bytes() for path in folder.iterdir()}
        self._names = self._listing()
        self.renamed: list[bytes | None] = []
        """What each rename would have left, had it reached the disk alone."""
        patch.setattr(os, "fsync", self._sync)
        patch.setattr(Path, "replace", lambda path, target: self._replace(path, target))

    def read(self, name: str) -> bytes | None:
        return self._bytes.get(self._names[name]) if name in self._names else None

    def _listing(self) -> dict[str, int]:
        return {path.name: path.stat().st_ino for path in self._folder.iterdir()}

    def _sync(self, file: int) -> None:
        self._fsync(file)
        about = os.fstat(file)
        if stat.S_ISDIR(about.st_mode):
            self._names = self._listing()
        else:
            self._bytes[about.st_ino] = os.pread(file, about.st_size, 0)

    def _replace(self, path: Path, target: Path) -> Path:
        self.renamed.append(self._bytes.get(path.stat().st_ino))
        return self._rename(path, target)


def write_boxes(path: Path) -> None:
    with BoxSink(path) as sink:
        sink._write_line(NEW.decode())


@pytest.mark.parametrize("write", [lambda path: write_bytes(path, NEW + b"\n"), write_boxes])
@pytest.mark.parametrize("before", [None, OLD])
def test_a_power_loss_leaves_the_old_file_or_the_new_one(
    write: Callable[[Path], None], before: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if before is not None:
        (tmp_path / "a").write_bytes(before)
    disk = Disk(tmp_path, monkeypatch)
    assert disk.read("a") == before
    write(tmp_path / "a")
    assert disk.renamed == [NEW + b"\n"], "a name on the disk before its bytes"
    assert disk.read("a") == NEW + b"\n", "done, and lost"


def test_a_new_folder_is_on_the_disk_with_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(tmp_path, monkeypatch)
    write_bytes(tmp_path / "new" / "deep" / "a", NEW)
    assert "new" in disk._names


def test_pictures_are_on_the_disk_before_their_folder_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[list[str]] = []
    monkeypatch.setattr(os, "sync", lambda: synced.append(names(tmp_path)))
    with FrameSink(tmp_path / "frames") as sink:
        sink.write(square_frames(1)[0])
    assert len(synced) == 1
    assert "frames" not in synced[0]
    assert names(tmp_path) == ["frames"]


def test_a_failing_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(OLD)

    def fail(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OutputError, match=r"cannot write '.*a': Input/output error"):
        write_bytes(tmp_path / "a", NEW)
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() == OLD


def test_only_regular_files_are_written(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("/dev/null")
    for path in (tmp_path / "fifo", tmp_path / "folder", tmp_path / "link", Path("/dev/null")):
        with pytest.raises(OutputError, match="no regular file"):
            write_bytes(path, NEW)
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)  # noqa: PTH116 (a Path could be patched)
    assert names(tmp_path) == ["fifo", "folder", "link"]


def test_links_stay_and_what_they_point_to_is_written(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(OLD)
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "dangling").symlink_to("new/real")
    for name in ("link", "dangling"):
        write_bytes(tmp_path / name, NEW)
        assert (tmp_path / name).is_symlink()
    assert (tmp_path / "real").read_bytes() == (tmp_path / "new" / "real").read_bytes() == NEW


def test_links_that_lead_in_a_circle_are_kept(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OutputError, match="symbolic links"):
        write_text(tmp_path / "a", "text")
    assert (tmp_path / "a").is_symlink()
    assert (tmp_path / "b").is_symlink()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_write_protected_files_are_kept(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(OLD)
    (tmp_path / "a").chmod(0o444)
    with pytest.raises(OutputError, match="write-protected"):
        write_bytes(tmp_path / "a", NEW)


def test_an_error_while_writing_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), Draft(tmp_path / "a") as draft:  # noqa: PT012
        draft.part.write_bytes(NEW)
        1 / 0  # noqa: B018
    assert names(tmp_path) == []


def test_what_killed_processes_left_is_removed(tmp_path: Path) -> None:
    program = "import os, sys; from tctrack.files import Draft; Draft(sys.argv[1]); Draft(sys.argv[2], folder=True)"
    outputs = [str(tmp_path / "a.txt"), str(tmp_path / "b")]
    command = [sys.executable, "-c", f"{program}; os.kill(os.getpid(), 9)", *outputs]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert len(names(tmp_path)) == 2
    (tmp_path / ".a.1234.part.txt").touch()  # not ours
    with Draft(tmp_path / "c.txt") as alive:
        write_text(tmp_path / "d.txt", "another")
        assert alive.part.exists()
    assert names(tmp_path) == [".a.1234.part.txt", "c.txt", "d.txt"]


def test_a_partial_result_does_not_replace_a_whole_one(tmp_path: Path) -> None:
    for content, whole, place in ((OLD, False, "a.txt"), (NEW, True, "a.txt"), (b"cut", False, "a.partial.txt")):
        draft = Draft(tmp_path / "a.txt")
        draft.part.write_bytes(content)
        assert draft.publish(whole) == tmp_path / place
        assert (tmp_path / place).read_bytes() == content
    assert (tmp_path / "a.txt").read_bytes() == NEW


@pytest.mark.parametrize("name", [b"caf\xe9.txt", b"a\x00b", b"x" * 300])
def test_names_that_no_file_can_have(name: bytes, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot write"):
        write_bytes(tmp_path / os.fsdecode(name), NEW)
    assert names(tmp_path) == []


def test_outputs_are_not_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = tmp_path / "a.mp4"
    source.write_bytes(OLD)
    (tmp_path / "link.mp4").symlink_to("a.mp4")
    os.link(source, tmp_path / "second.mp4")
    (tmp_path / "folder").symlink_to(".")
    (tmp_path / "frame.png").touch()
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "1.PNG").symlink_to("../first.bin")
    (tmp_path / "first.bin").touch()
    for name in ("a.partial.mp4", "odd file:.mp4"):
        (tmp_path / name).touch()
    for output, given in (
        ("a.mp4", "a.mp4"), ("a.mp4", source), ("link.mp4", "a.mp4"), ("a.mp4", "link.mp4"), ("second.mp4", "a.mp4"),
        ("folder/a.mp4", "./a.mp4"), ("a.mp4", f"file://{source}"), ("a.mp4", f"cache:file:{source}"),
        ("link.mp4", "file:a.mp4"), (".", "folder"), ("frame.png", "folder"), ("first.bin", "linked"),
        ("a.mp4", f"concat:file:b.mp4|file:{source}"), ("odd file:.mp4", "odd file:.mp4"), ("a.mp4", "a.partial.mp4"),
    ):  # fmt: skip
        with pytest.raises(OutputError, match="--out would replace the input"):
            check_outputs({"--out": output}, ["none", None, given])
    check_outputs(
        {"--out": "b.mp4", "--boxes": None, "--jsonl": "b.txt"}, ["a.mp4", "rtsp://u:p@h/a.mp4", "none", None]
    )
    check_outputs({"--out": "tctrack-lite"}, ["tctrack-lite"])  # a name, as long as there is no such file


def test_outputs_differ_from_each_other(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("e")
    for other in ("e", "link", "../" + tmp_path.name + "/e", "e.partial"):
        with pytest.raises(OutputError, match="different files"):
            check_outputs({"--json": tmp_path / "e", "--csv": tmp_path / other}, [])
    with pytest.raises(OutputError, match="cannot hold another output"):
        check_outputs({"--out": tmp_path / "frames", "--csv": tmp_path / "frames" / "x"}, [])


def test_names_of_files() -> None:
    assert all(map(is_name, ["car1", "Gull 1", "größe", "a.b", "..a", "飞机"]))
    assert not any(map(is_name, ["", ".", "..", "../x", "/x", "a/b", "a\\b", "a\nb", "a\0", "caf\udce9"]))


def test_natural_order() -> None:
    assert sorted(["f10", "f9", "F1", "f²", "f"], key=natural_key) == ["f", "F1", "f9", "f10", "f²"]


def test_json_that_is_none(tmp_path: Path) -> None:
    for content in (b"{", b"\xff\xfe", b"[" * 100_000):
        (tmp_path / "a.json").write_bytes(content)
        with pytest.raises((DatasetError, ValueError), match=r"not text|nested too deep|Expecting"):
            read_json(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("rtsp://pilot:s3cret@10.0.0.1/live: no", "rtsp://***@10.0.0.1/live: no"),
        ("RTSP://pilot:s3cr@t@cam", "RTSP://***@cam"),
        ("rtsp://pilot:s3c/ret@cam/live", "rtsp://***@cam/live"),
        ("http://s3cret@cam/x", "http://***@cam/x"),
        ("http://cam/x?user=a&Password=s3cret&x=1", "http://cam/x?user=a&Password=***&x=1"),
        ("rtsp://cam:554/a@2x.mp4", None),
        ("http://cam/a@2x.mp4 and mail me@here.org", "http://cam/a@2x.mp4 and mail me@here.org"),
    ],
)
def test_credentials_are_masked(text: str, masked: str | None) -> None:
    assert "s3c" not in mask(text)
    if masked is not None:
        assert mask(text) == masked
        assert str(SourceError(f"{text}!")) == f"{masked}!"


def test_a_source_does_not_tell_its_password(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SourceError) as caught:
        open_source("rtsp://pilot:s3cret@127.0.0.1:9/live")
    assert "127.0.0.1:9/live" in str(caught.value)
    assert "s3cret" not in str(caught.value) + "".join(capfd.readouterr())


def test_what_is_missing_is_named_with_the_command_that_brings_it() -> None:
    with pytest.raises(DependencyError) as caught:
        require("no_such_package.module", "action", "do without")
    assert "no_such_package" in str(caught.value)
    assert str(caught.value).endswith("pip install '.[action]' in a clone of this project, or do without")
    assert require("json", "action").loads("1") == 1


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    """In a process of its own, since OpenCV ends the process on such a name."""
    write_video(tmp_path / "a.mp4", 4)
    bad = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.mp4")
    Path(bad).write_bytes((tmp_path / "a.mp4").read_bytes())
    for words in ([bad, "--boxes", "b.txt"], [str(tmp_path / "a.mp4"), "--out", bad]):
        command = [sys.executable, "-m", "tctrack", "track", "--box", "20,40,24,24", "--model", "static", *words]
        done = run(command, tmp_path)
        assert done.returncode == 2, done
        assert done.stderr.startswith("tctrack: error: ")
        assert done.stderr.count("\n") == 1
        assert "caf\\" in done.stderr


def run(command: list[Any], folder: Path) -> subprocess.CompletedProcess[str]:
    here = str(Path(__file__).resolve().parents[1])
    environment = {**os.environ, "PYTHONPATH": here}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DatasetError, match="no regular file"):
        read_text(tmp_path / "pipe")


def test_the_root_is_no_output() -> None:
    check_outputs({"--out": "/"}, [])
    with pytest.raises(OutputError, match="cannot write"):
        write_text("/", "text")
