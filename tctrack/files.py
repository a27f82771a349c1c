"""The one door to files: suffixes, the order of names, reading text and JSON, and writing whole or not at all.

Whatever the library writes goes through :class:`Draft`. It follows links, writes regular files and nothing else, makes
the folders it needs, and gives a file its name only when its bytes are on the disk.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import platform
import re
import shutil
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from tctrack.errors import CheckpointError, DatasetError, OutputError

#: Folder of the weights and graphs that ship with the package.
SHIPPED = Path(__file__).resolve().parent / "weights"
IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
VIDEO_SUFFIXES = frozenset({".avi", ".mkv", ".mov", ".mp4", ".webm"})

StrPath = str | os.PathLike[str]

#: This machine in the names of drafts: a process id says nothing of another machine that shares the folder.
_MACHINE = f"{zlib.crc32(platform.node().encode()):08x}"
_DRAFT = re.compile(rf"\..*\.{_MACHINE}-(\d{{1,9}})-[0-9a-f]{{8}}\.part(\..*)?")


def check_outputs(outputs: Mapping[str, StrPath | None], inputs: Iterable[StrPath | None]) -> None:
    """Make sure that no output would replace an input, or another output; None is one that is not given.

    Args:
        outputs: files and folders by the options that name them.
        inputs: files, folders of images, and URLs; those of files count as files.

    Raises:
        OutputError: an output is an input, an image in a folder of them, or another output or its partial result, also
            by another name of the same file; or a folder would hold another output.
    """
    given = {name: Path(os.path.realpath(path)) for name, path in outputs.items() if path}
    claimed: dict[Path, str] = {}
    there: dict[tuple[int, int], str] = {}
    for name, path in given.items():
        for place in (path, partial_name(path)) if path.name else (path,):
            identity = _identity(place)
            taken = {claimed.setdefault(place, name), there.setdefault(identity, name) if identity else name}
            if other := next(iter(taken - {name}), None):
                raise OutputError(f"{other} and {name} would write '{outputs[name]}'; they must be different files")
        if holder := next((other for other, folder in given.items() if folder in path.parents), None):
            raise OutputError(f"{holder} is a folder of frames, which cannot hold another output, that of {name}")
    for read in _expand(inputs) if there else ():
        identity = _identity(read)
        if identity in there:
            raise OutputError(f"{there[identity]} would replace the input '{read}'; they must be different files")


def is_name(text: str) -> bool:
    """Whether a file or folder can have a text for its name anywhere, below the folder that it is put in."""
    return text not in {".", ".."} and re.fullmatch(r"[^\x00-\x1f\x7f\ud800-\udfff/\\]+", text) is not None


def is_utf8(path: StrPath) -> bool:
    """Whether a path is text; OpenCV ends the process on one that is not."""
    return re.search(r"[\ud800-\udfff]", os.fspath(path)) is None


def natural_key(text: str) -> list[tuple[int, str]]:
    """Sort key that puts ``frame10`` after ``frame9``."""
    return [(int(part), "") if part.isdecimal() else (-1, part.lower()) for part in re.split(r"(\d+)", text)]


def find_file(stem: Path, suffixes: Collection[str]) -> Path | None:
    """Return the file whose path is ``stem`` and one of the suffixes, in lower or upper case."""
    paths = (Path(f"{stem}{written}") for suffix in sorted(suffixes) for written in (suffix, suffix.upper()))
    return next((path for path in paths if path.is_file()), None)


def read_text(path: Path) -> str:
    """Read a text file in UTF-8.

    Raises:
        DatasetError: it cannot be read, or is not text.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe would never end
            raise DatasetError(f"cannot read '{path}': it is no regular file")
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise DatasetError(f"cannot read '{path}': {reason}") from None


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, or of the files right in a folder, by name."""
    digest = hashlib.sha256()
    if path.is_dir():
        for each in sorted(each for each in path.iterdir() if each.is_file()):
            digest.update(f"{sha256(each)}  {each.name}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def check_shipped(path: Path) -> None:
    """Hold a file that ships with the package to the list ``SHA256SUMS`` beside it or above it.

    Raises:
        CheckpointError: it is not the one that was shipped.
    """
    root = next(folder for folder in path.parents if (folder / "SHA256SUMS").is_file() or folder == SHIPPED)
    if f"{sha256(path)}  {path.relative_to(root).as_posix()}" not in read_text(root / "SHA256SUMS").splitlines():
        raise CheckpointError(f"'{path}' is not the file that was shipped; install the package again")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        DatasetError: it cannot be read.
        ValueError: it is not JSON.
    """
    try:
        return json.loads(read_text(path))
    except RecursionError:
        raise ValueError("it is nested too deep") from None


class Draft:
    """What becomes a file, or a folder: written at ``part``, a hidden name beside it, until it is published.

    As a context manager it is published at the end, or discarded where an error ends it. What killed processes left
    half-written in the folder is removed.

    Args:
        path: where it shall be; a link stays a link, and what it points to is written.
        folder: whether it is a folder, which must be new or empty.

    Raises:
        OutputError: nothing can be written there, or what is there is no regular file.
    """

    def __init__(self, path: StrPath, folder: bool = False) -> None:
        self.path, self._folder = Path(path), folder
        with naming(path):
            os.fspath(path).encode()
            self._target = target = Path(os.path.realpath(path))
            name = f".{target.stem[:24]}.{_MACHINE}-{os.getpid()}-{zlib.crc32(target.name.encode()):08x}.part"
            self.part = target.with_name(name + target.suffix)
            _make_folder(target.parent)
            _sweep(target.parent)
            _remove(self.part)
            if folder:
                if target.exists() and any(target.iterdir()):
                    raise OutputError(f"cannot write '{path}': the folder must be new or empty")
                self.part.mkdir()
                return
            if target.is_symlink():  # links that lead in a circle
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            if target.exists() and not target.is_file():
                raise OutputError(f"cannot write '{path}': it exists and is no regular file")
            if target.exists() and not os.access(target, os.W_OK):
                raise PermissionError(13, "it is write-protected")
            self.part.touch()

    def publish(self, whole: bool = True) -> Path:
        """Give what was written its name, and return where it is.

        Args:
            whole: whether it is all that was asked for; if not, an older file keeps the name, and this one is put
                beside it as ``NAME.partial.SUFFIX``.

        Raises:
            OutputError: it cannot be written.
        """
        kept = whole or self._folder or not self._target.exists()
        target = self._target if kept else partial_name(self._target)
        with naming(self.path):
            try:
                if self._folder:
                    _sync_everything()
                    if self._target.exists():
                        self._target.rmdir()
                else:
                    with self.part.open("rb+") as file:
                        os.fsync(file.fileno())
                self.part.replace(target)
            finally:
                self.discard()
            _sync_folder(target.parent)  # a name is on the disk when its folder is
        return self.path if kept else target

    def discard(self) -> None:
        """Remove what was written and not published."""
        _remove(self.part)

    def __enter__(self) -> Draft:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is None:
            self.publish()
            return
        self.discard()
        if isinstance(error, OSError):
            raise _cannot_write(self.path, error) from None


def write_bytes(path: StrPath, data: bytes | memoryview) -> None:
    """Write a file whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    with Draft(path) as draft:
        draft.part.write_bytes(data)


def write_text(path: StrPath, text: str) -> None:
    """Write a text file in UTF-8, with escapes for what is no text in a file's name; see :func:`write_bytes`."""
    write_bytes(path, text.encode(errors="backslashreplace"))


def write_texts(texts: Mapping[Path, str]) -> None:
    """Write text files as :func:`write_text` does, all of them or none.

    Raises:
        OutputError: one cannot be written.
    """
    with contextlib.ExitStack() as stack:
        drafts = [stack.enter_context(Draft(path)) for path in texts]
        for draft, text in zip(drafts, texts.values(), strict=True):
            with naming(draft.path):
                draft.part.write_bytes(text.encode(errors="backslashreplace"))


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, where they are missing.

    Raises:
        OutputError: it cannot be made.
    """
    with naming(folder):
        _make_folder(folder)


def partial_name(path: Path) -> Path:
    """Return where a partial result is kept beside a whole one."""
    return path.with_name(f"{path.stem}.partial{path.suffix}")


def _identity(path: StrPath) -> tuple[int, int] | None:
    """Return what a file is by all its names and links; None where there is none."""
    try:
        about = os.stat(path)  # noqa: PTH116 (of 100,000 files)
    except (OSError, ValueError):
        return None
    return about.st_dev, about.st_ino


def _expand(inputs: Iterable[StrPath | None]) -> Iterator[str]:
    """Yield the inputs, the files that URLs among them name, and the images of folders."""
    for text in [os.fspath(path) for path in inputs if path]:
        for file in (text, *re.split(r"\|?(?:[\w+]+:)*file:", text)):
            yield file
            if os.path.isdir(file):  # noqa: PTH112 (it may be empty)
                with os.scandir(file) as entries:
                    yield from (entry.path for entry in entries if Path(entry.name).suffix.lower() in IMAGE_SUFFIXES)


@contextlib.contextmanager
def naming(path: StrPath) -> Iterator[None]:
    """Let an error of the system say which file cannot be written.

    Raises:
        OutputError: in place of an :class:`OSError`, or where the name is not UTF-8 or holds a null.
    """
    try:
        yield
    except OSError as error:
        raise _cannot_write(path, error) from None
    except ValueError:
        raise OutputError(f"cannot write {os.fspath(path)!a}: no file can have this name; choose another") from None


def _cannot_write(path: StrPath, error: OSError) -> OutputError:
    return OutputError(f"cannot write '{os.fspath(path)}': {error.strerror or error}; choose another place")


def _sweep(folder: Path) -> None:
    """Remove the drafts of dead processes."""
    with contextlib.suppress(OSError):  # what is not ours to list or remove stays
        for entry in os.scandir(folder):
            if (found := _DRAFT.fullmatch(entry.name)) and not _is_alive(int(found[1])):
                _remove(Path(entry))


def _is_alive(process: int) -> bool:
    if os.name == "nt":  # there, signal 0 would end it
        return True
    try:
        os.kill(process, 0)
    except OSError as error:
        return not isinstance(error, ProcessLookupError)
    return True


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _make_folder(folder: Path) -> None:
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for place in missing:
        _sync_folder(place.parent)


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # not every system opens folders
        file = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)


def _sync_everything() -> None:
    """Write out all files at once, which for thousands of pictures is faster than one by one."""
    getattr(os, "sync", lambda: None)()
