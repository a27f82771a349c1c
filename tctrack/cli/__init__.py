"""The command line: ``tctrack VERB``.

Each verb is a module of this package with ``add_arguments(parser)`` and ``run(args) -> int``. Verbs import torch,
OpenCV and the rest of the library inside ``run``, so that ``--help`` is instant.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import errno
import importlib
import inspect
import io
import os
import re
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from tctrack import __version__
from tctrack.errors import ConfigError, TCTrackError, mask
from tctrack.files import is_utf8

#: Verb, and its line in ``tctrack --help``. The module of a verb has its name, with ``_`` for ``-``.
VERBS = {
    "track": "track a target in a video file, camera, stream or image folder",
    "serve": "track in the browser",
    "demo": "make an aerial clip, track its target, and show how well it went",
    "profile": "measure where a frame's time goes, by stage and engine",
    "convert": "turn a released .pth checkpoint into safetensors",
    "export": "write a network as graphs for ONNX Runtime, OpenVINO and other engines",
    "prepare": "cut a training set into a crop pack",
    "train": "train a tracker",
    "datasets": "list the benchmarks and what is found of them",
    "test": "run trackers over a benchmark",
    "eval": "score result files and make tables, plots and a report",
    "replay": "play result files over their frames",
    "classify": "say what happens in a video",
    "train-action": "train a video classifier",
    "test-action": "test a video classifier on a list of videos",
    "features": "write the clip features of long videos",
    "train-localizer": "train a network that finds actions in long videos",
    "eval-localization": "score detected actions: mAP at tIoU thresholds",
    "tune": "search the tracker's hyper-parameters on a training split",
}

TORCH_HINT = "pip install torch --index-url https://download.pytorch.org/whl/cpu (for a GPU: pip install torch)"
#: Exit code of a failure that is not the input's (EX_SOFTWARE of sysexits.h).
BROKEN = 70


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message} (see {self.prog} --help)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; return the exit code: 0 done, 2 bad input, 70 a failure of the program, 130 interrupted."""
    _open_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file's name may be no text
    try:
        with _stopping_as_by_ctrl_c():
            try:
                return _run(list(sys.argv[1:] if arguments is None else arguments))
            finally:
                sys.stdout.flush()
    except TCTrackError as error:
        return _end(2, f"error: {error}")
    except BrokenPipeError:  # the reader of our output, such as head, has seen enough
        _mute()
        return 0
    except KeyboardInterrupt:
        return _end(130, "interrupted")
    except ModuleNotFoundError as error:
        return _end(2, f"error: torch is not installed; {TORCH_HINT}") if error.name == "torch" else _broken(error)
    except MemoryError:
        return _end(2, "error: this needs more memory than there is; ask for less")
    except OSError as error:
        if error.filename is not None:
            return _end(2, f"error: {os.fsdecode(error.filename)}: {error.strerror}")
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return _broken(error)
        _mute()
        return _end(2, f"error: cannot write what is printed: {error.strerror}")
    except Exception as error:
        return _broken(error)


def _open_streams() -> None:
    """Open standard streams that are closed upon nothing, lest a file that is written gets their number."""
    while (number := os.open(os.devnull, os.O_RDWR)) < 3:
        setattr(sys, ("stdin", "stdout", "stderr")[number], os.fdopen(number, "w" if number else "r"))
    os.close(number)


def _mute() -> None:
    """Let what is still to be printed go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(words: list[str]) -> int:
    try:
        Path.cwd()
    except OSError:
        raise ConfigError("the current folder is gone; change into one that is there") from None
    for word in words:
        if not is_utf8(word):
            raise ConfigError(f"{word!a} is not text in UTF-8; rename the file")
    parser = _Parser(
        prog="tctrack", description="Online single-object tracking for drones with temporally adaptive convolutions."
    )
    parser.add_argument("--version", action="version", version=f"tctrack {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, line in VERBS.items():
        verb = verbs.add_parser(name, help=line, formatter_class=argparse.RawDescriptionHelpFormatter)
        if name in words[:1]:
            module = importlib.import_module(f"tctrack.cli.{name.replace('-', '_')}")
            verb.description = inspect.getdoc(module)
            module.add_arguments(verb)
    for word in words:
        if word.endswith("=--"):  # argparse would make a list of it
            raise ConfigError(f"{word.removesuffix('=--')} cannot be '--'")
    options = parser.parse_args(words)
    for value in vars(options).values():
        if isinstance(value, Path) and re.match(r"\w+:/.*@", str(value)):
            raise ConfigError(f"'{str(value).replace(':/', '://', 1)}' is a URL, where a file or folder is asked for")
    keep_freed_memory()
    return int(module.run(options))


def _end(code: int, line: str) -> int:
    if tqdm := sys.modules.get("tqdm"):
        for bar in list(tqdm.tqdm._instances):
            bar.close()  # and leave its line
    print(f"tctrack: {mask(' '.join(line.split()))}", file=sys.stderr)
    return code


def _broken(error: Exception) -> int:
    """Say where the traceback is kept, or show it where TCTRACK_DEBUG asks for that."""
    if os.environ.get("TCTRACK_DEBUG"):
        traceback.print_exception(error)
        return BROKEN
    name = f"{type(error).__name__}: {str(error)[:200]}"
    try:
        with tempfile.NamedTemporaryFile(prefix="tctrack-", suffix=".log", delete=False) as file:
            file.write(mask("".join(traceback.format_exception(error))).encode(errors="backslashreplace"))
    except OSError:
        return _end(BROKEN, f"failed: {name}; TCTRACK_DEBUG=1 shows where")
    return _end(BROKEN, f"failed: {name}; please report it with {file.name}")


@contextlib.contextmanager
def _stopping_as_by_ctrl_c() -> Iterator[None]:
    """Let SIGTERM (docker stop, a batch system) and SIGHUP (a closed shell) keep what was written, as Ctrl-C does.

    Raises:
        KeyboardInterrupt: one of them came, whatever error a library made of it.
    """
    arrived = False

    def stop(*_: object) -> NoReturn:
        nonlocal arrived
        arrived = True
        raise KeyboardInterrupt

    known = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in known}
    if threading.current_thread() is not threading.main_thread():
        before.clear()
    for number, handler in before.items():
        if handler in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, stop)
    try:
        yield
    except Exception:
        if arrived:
            raise KeyboardInterrupt from None
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def keep_freed_memory() -> None:
    """Let glibc keep the blocks that a layer frees for the next one, instead of asking the system for them each time.

    Elsewhere than on glibc this does nothing. ``make bench`` measures what it gains.
    """
    mmap_threshold, trim_threshold = -3, -1  # M_MMAP_THRESHOLD and M_TRIM_THRESHOLD of malloc.h
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(mmap_threshold, 32 << 20)
        libc.mallopt(trim_threshold, 1 << 30)
