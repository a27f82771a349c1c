"""Runs commands in this process, and counts what no command may do."""

from __future__ import annotations

import contextlib
import dataclasses
import faulthandler
import io
import os
import re
import shutil
import signal
import stat
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from tctrack.benchmark import run as benchmark
from tctrack.cli import BROKEN, main
from tests.campaign.cases import Case
from trackers import profiling

#: Seconds of the processor after which a command hangs; one that only waits hangs after as many seconds.
PATIENCE = 60
KINDS = ("traceback", "wrong exit", "hang", "leftover", "wrong answer", "lost input", "secret")


class Hang(BaseException):
    """Raised in a command that takes too long."""


@dataclasses.dataclass
class Judge:
    """Counts the faults of cases; each runs in an empty folder, on one folder of inputs."""

    world: Path
    place: Path
    counts: Counter[str] = dataclasses.field(default_factory=Counter)
    faults: list[str] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        self._before = _digest(self.world)
        self._saved = self.place / "saved"
        shutil.copytree(self.world, self._saved, symlinks=True, ignore=shutil.ignore_patterns("pipe"))
        self._logs = self.place / "logs"
        self._logs.mkdir()

    def run(self, case: Case) -> None:
        """Run a case and judge it."""
        folder = self.place / "case"
        folder.mkdir()
        out, err = io.StringIO(), io.StringIO()
        code, fault = self._call(case, folder, out, err)
        self.counts["cases"] += 1
        self.counts[f"exit {code}"] += 1
        found = dict(self._judge(case, folder, code, out.getvalue(), err.getvalue()))
        if fault:
            found[fault[0]] = fault[1]
        for kind, detail in found.items():
            self.counts[kind] += 1
            self.faults.append(f"{kind}: tctrack {case.verb} {' '.join(map(ascii, case.words))[:600]}\n    {detail}")
        shutil.rmtree(folder, ignore_errors=True)

    def _call(
        self, case: Case, folder: Path, out: io.StringIO, err: io.StringIO
    ) -> tuple[int | None, tuple[str, str] | None]:
        path, before = list(sys.path), Path.cwd()
        seen = [time.process_time()]

        def check(*_: object) -> None:
            seen.append(time.process_time())
            if seen[-1] - seen[-2] < 1 or seen[-1] - seen[0] > PATIENCE:
                raise Hang
            signal.alarm(PATIENCE)  # the machine is busy

        previous = signal.signal(signal.SIGALRM, check)
        os.chdir(folder)
        signal.alarm(PATIENCE)
        faulthandler.dump_traceback_later(20 * PATIENCE, exit=True, file=sys.__stderr__)  # where no signal helps
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), _here(self._logs):
                return main([case.verb, *case.words]), None
        except Hang:
            where = [line for line in traceback.format_exc().splitlines() if "tctrack/" in line]
            return None, ("hang", where[-1].strip() if where else "")
        except SystemExit as stop:
            return (None, ("traceback", "SystemExit")) if stop.code else (0, None)
        except BaseException as error:
            return None, ("traceback", "".join(traceback.format_exception(error)[-3:]))
        finally:
            signal.alarm(0)
            faulthandler.cancel_dump_traceback_later()
            signal.signal(signal.SIGALRM, previous)
            os.chdir(before)
            sys.path[:] = path

    def _judge(self, case: Case, folder: Path, code: int | None, out: str, err: str) -> Iterator[tuple[str, str]]:
        if code == BROKEN:
            logs = list(self._logs.glob("*.log"))
            yield "traceback", (logs[-1].read_text()[-900:] if logs else err)
            for log in logs:
                log.unlink()
        elif "Traceback" in err + out:
            yield "traceback", (out + err)[-900:]
        elif code not in (0, 2, None) and not (code == 1 and case.verb == "test"):
            yield "wrong exit", f"{code}: {err[-300:]}"
        elif case.refused and code == 0:
            yield "wrong exit", "0, for what is no number"
        elif code == 2 and case.verb != "features" and len(re.findall(r"^tctrack: error: .+", err, re.M)) != 1:
            yield "wrong exit", f"2, without one line of error: {err[-300:]!r}"
        hidden = [path.name for path in folder.rglob(".*")]
        if hidden:
            yield "leftover", ", ".join(hidden)
        named = any("nan" in word for word in case.words)  # as a folder that is printed
        if code == 0 and not named and (where := _nan(folder, out)):
            yield "wrong answer", f"nan in {where}"
        if "secret" in out + err:
            yield "secret", (out + err)[-300:]
        if (after := _digest(self.world)) != self._before:
            changed = {name for name, state in self._before.items() if after.get(name) != state}
            # Of an option that is given again, the last one counts.
            words = {
                word.partition("=")[0] if word.startswith("--") else (word, at): word
                for at, word in enumerate(case.words)
            }
            last = case._replace(words=list(words.values()))
            lost = [name for name in changed if _names(last, self.world / name) != 1]
            if lost:
                yield "lost input", ", ".join(sorted(lost)[:4])
            _restore(self._saved, self.world)
            self._before = _digest(self.world)

    def report(self) -> str:
        """Return the counts."""
        return ", ".join(f"{self.counts[kind]} {kind}" for kind in ("cases", *KINDS)) + f"; {dict(self.counts)}"


@contextlib.contextmanager
def _here(logs: Path) -> Iterator[None]:
    """Keep logs of failures, leave out what takes long, and run trackers in this process, which is faster."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(logs))
        patch.setattr(benchmark, "in_processes", lambda jobs, workers=1, threads=1: benchmark.in_process(jobs, threads))
        patch.setattr(profiling, "peak_memory", lambda *_: 1.0)
        patch.setattr(profiling, "peak", lambda: {"product_gflops": 1.0, "copy_gb_s": 1.0})
        patch.setattr(uvicorn.Server, "run", lambda *_, **__: None)
        yield


def _nan(folder: Path, out: str) -> str:
    """Where outputs hold a NaN."""
    if re.search(r"\bnan\b", out):
        return "the output"
    texts = [
        path for path in folder.rglob("*") if path.suffix in {".txt", ".json", ".jsonl", ".csv"} and path.is_file()
    ]
    return next((path.name for path in texts if re.search(r"\b(nan|NaN|inf|Infinity)\b", path.read_text())), "")


def _digest(root: Path) -> dict[str, tuple[int, int, int]]:
    """Kind, size and time of change of everything in a folder, by name."""
    found = {}
    for path in root.rglob("*"):
        state = path.lstat()
        content = (state.st_size, state.st_mtime_ns) if not stat.S_ISDIR(state.st_mode) else (0, 0)
        found[str(path.relative_to(root))] = (state.st_mode, *content)
    return found


def _names(case: Case, path: Path) -> int:
    """How many arguments name a file or a folder that holds it; one may be changed if it is named once, as output."""
    real = path.resolve()
    found = set()
    for number, word in enumerate(case.words):
        option, _, value = word.partition("=") if word.startswith("--") else ("", "", word)
        place = (
            Path(value.removeprefix("file://")).resolve() if value and len(value) < 4000 and "\0" not in value else None
        )
        if place is not None and (place == real or place in real.parents) and place != Path.cwd():
            found.add(option or number)
    return len(found)


def _restore(saved: Path, world: Path) -> None:
    for path in world.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    shutil.copytree(saved, world, symlinks=True, dirs_exist_ok=True)
    os.mkfifo(world / "bad/pipe")
