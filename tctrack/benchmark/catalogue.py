"""The published benchmarks, in the folder layouts in which they are distributed.

What a benchmark looks like on disk is data: ``configs/benchmark/*.yaml`` name its sequences, the ranges of frames that
are sequences of a longer folder, their attributes, and where frames and boxes lie below the root.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np

from tctrack.benchmark.sequences import BenchmarkSequence, list_images, read_boxes, read_lines
from tctrack.config import build, config_root, load_config
from tctrack.errors import ConfigError, DatasetError, suggest
from tctrack.files import VIDEO_SUFFIXES, find_file, is_name, natural_key, read_json
from tctrack.geometry.boxes import has_area
from tctrack.types import FloatArray

T = TypeVar("T")


@dataclass(frozen=True)
class FolderLayout:
    """Where one sequence lies below the root, with ``{name}``, ``{folder}`` and ``{group}`` filled in."""

    images: str
    """Folder of images; a video file of this name with any suffix also counts."""
    boxes: str
    """Text file of true boxes."""
    attributes: str | None = None
    """Text file of 0/1 flags in the order of the benchmark's attributes."""
    visible: str | None = None
    """Text file with a number a frame, 0 where the target cannot be seen (GOT-10k's cover.label)."""
    info: str | None = None
    """GOT-10k's meta_info.ini, from which the frame size is read."""
    box_format: Literal["xywh", "nfs"] = "xywh"
    """``nfs``: an index, then left, top, right, bottom, at 240 Hz."""


@dataclass(frozen=True)
class Entry:
    """Where one sequence departs from its benchmark's layout."""

    folder: str | None = None
    """Folder of its frames; its own name when not given."""
    start: int | None = None
    """Number of its first image."""
    end: int | None = None
    """Number of its last image."""
    boxes: str | None = None
    """File of boxes below the root, where it is not the layout's."""
    attributes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Benchmark:
    """A benchmark's description, as its YAML file gives it."""

    name: str
    about: str
    source: str
    size: str
    layouts: tuple[FolderLayout, ...]
    attributes: dict[str, str] = field(default_factory=dict)
    """Abbreviation and meaning of each attribute."""
    sequences: dict[str, Entry] = field(default_factory=dict)
    """Every sequence; empty where the files on disk say which there are."""
    withheld: bool = False
    """Only the first box of each sequence is public."""


class Found(NamedTuple):
    """What was found under a root: the sequences in the benchmark's order, and the names of those that are missing."""

    benchmark: Benchmark
    root: Path
    sequences: tuple[BenchmarkSequence, ...]
    missing: tuple[str, ...]
    present: tuple[str, ...]
    """Names of all sequences under the root, whether wanted or not."""
    annotations: tuple[Path, ...]
    """The files of true boxes of the sequences."""

    def inputs(self) -> set[Path]:
        """Return what the sequences are read from: files of boxes, videos, and folders of images."""
        frames = [[seq.source] if isinstance(seq.source, Path) else seq.source for seq in self.sequences]
        return {*self.annotations, *(path.parent if len(paths) > 1 else path for paths in frames for path in paths)}


def benchmark_names() -> list[str]:
    """Return the names of all benchmarks."""
    return sorted((benchmark.name for benchmark in _descriptions().values()), key=natural_key)


def describe(name: str) -> Benchmark:
    """Return a benchmark's description; case and punctuation of the name do not matter.

    Raises:
        ConfigError: there is no such benchmark.
    """
    known = _descriptions()
    key = _plain(name)
    if key not in known:
        raise ConfigError(f"unknown dataset '{name}'{suggest(name, benchmark_names())}")
    return known[key]


def load_benchmark(name: str, root: str | Path, only: Collection[str] = ()) -> Found:
    """Find a benchmark's sequences under a root.

    Args:
        name: the benchmark, such as ``UAV123@10fps``.
        root: its folder, a folder that holds it, or a folder of annotations with ``NAME.json``
            (``{sequence: {"gt": boxes, "att": flags}}``), which is enough for scoring.
        only: names of the sequences wanted; all when empty.

    Raises:
        ConfigError: there is no such benchmark or sequence.
        DatasetError: no sequence lies under the root, or a file is malformed.
    """
    benchmark, root = describe(name), Path(root).expanduser().absolute()
    annotation = root if root.suffix == ".json" else root / f"{benchmark.name}.json"
    if annotation.is_file():
        return _read_annotation(benchmark, annotation, only)
    for base in (root, root / benchmark.name):
        places = {item: place for item in _names(benchmark, base) if (place := _locate(benchmark, base, item))}
        if places:
            wanted = _pick(benchmark, base, places, only)
            sequences = tuple(_read(benchmark, base, item, *place) for item, place in wanted.items())
            annotations = tuple(boxes for _, _, boxes in wanted.values())
            return Found(benchmark, base, sequences, _missing(benchmark, places), tuple(places), annotations)
    example = next(iter(benchmark.sequences), "NAME")
    layout = benchmark.layouts[0]
    looked = " and ".join(_fill(benchmark, pattern, example) for pattern in (layout.images, layout.boxes))
    raise DatasetError(
        f"no sequence of {benchmark.name} under {root}; looked there and in {root / benchmark.name} for {looked}, "
        f"and for {annotation.name}; get it from {benchmark.source}"
    )


@functools.cache
def _descriptions() -> dict[str, Benchmark]:
    files = sorted((config_root() / "benchmark").glob("*.yaml"))
    found = [build(Benchmark, load_config(file)) for file in files]
    return {_plain(benchmark.name): benchmark for benchmark in found}


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _pick(benchmark: Benchmark, root: Path, there: Mapping[str, T], only: Collection[str]) -> dict[str, T]:
    """Return the wanted sequences, all when ``only`` is empty; the names become those of result files."""
    for name in only:
        if name not in there:
            hint = "" if name in benchmark.sequences else suggest(name, there)
            raise DatasetError(f"sequence '{name}' of {benchmark.name} is not under {root}{hint}")
    for name in there:
        if not is_name(name):
            raise DatasetError(f"a sequence under {root} is called {name!a}, which no file can be; rename it")
    return {name: item for name, item in there.items() if not only or name in only}


def _missing(benchmark: Benchmark, there: Collection[str]) -> tuple[str, ...]:
    return tuple(name for name in benchmark.sequences if name not in there)


def _names(benchmark: Benchmark, base: Path) -> list[str]:
    """Return the names of the sequences: the benchmark's list, or those that have a file of boxes."""
    if benchmark.sequences:
        return list(benchmark.sequences)
    names: set[str] = set()
    for layout in benchmark.layouts:
        pattern = layout.boxes.replace("{name}", "*").replace("{folder}", "*")
        position = pattern.split("/").index(next(part for part in pattern.split("/") if "*" in part))
        names |= {path.relative_to(base).parts[position].removesuffix(".txt") for path in base.glob(pattern)}
    return sorted(names, key=natural_key)


def _fill(benchmark: Benchmark, pattern: str, name: str) -> str:
    folder = benchmark.sequences.get(name, Entry()).folder or name
    return pattern.format(name=name, folder=folder, group=folder.rpartition("-")[0])


def _locate(benchmark: Benchmark, base: Path, name: str) -> tuple[FolderLayout, Path, Path] | None:
    """Return the layout, frames and boxes of a sequence, or None when either is not there."""
    for layout in benchmark.layouts:
        boxes = base / (benchmark.sequences.get(name, Entry()).boxes or _fill(benchmark, layout.boxes, name))
        images = base / _fill(benchmark, layout.images, name)
        frames = images if images.exists() else find_file(images, VIDEO_SUFFIXES)
        if frames is not None and boxes.is_file():
            return layout, frames, boxes
    return None


def _read(
    benchmark: Benchmark, base: Path, name: str, layout: FolderLayout, frames: Path, boxes: Path
) -> BenchmarkSequence:
    entry = benchmark.sequences.get(name, Entry())
    truth = _read_nfs(boxes) if layout.box_format == "nfs" else read_boxes(boxes)
    source: Path | tuple[Path, ...] = frames
    if frames.is_dir():
        source = list_images(frames, entry.start, entry.end)
        if benchmark.withheld:
            truth = np.concatenate([truth[:1], np.full((len(source) - 1, 4), np.nan)])
        elif layout.box_format == "nfs" and abs(len(source) - len(truth)) == 1:
            source, truth = source[: len(truth)], truth[: len(source)]
        if len(source) != len(truth):
            raise DatasetError(f"{frames} has {len(source)} images for {name}, but {boxes} has {len(truth)} boxes")
    if layout.visible:
        seen = np.array([float(line) for line in read_lines(base / _fill(benchmark, layout.visible, name))])
        truth[seen == 0] = np.nan
    attributes = entry.attributes
    if layout.attributes and (flags := base / _fill(benchmark, layout.attributes, name)).is_file():
        attributes = _flagged(benchmark, re.split(r"[,\s]+", read_lines(flags)[0].strip().rstrip(",")), flags)
    size = _read_size(base / _fill(benchmark, layout.info, name)) if layout.info else None
    return _checked(BenchmarkSequence(name, truth, source, attributes, size), boxes)


def _read_annotation(benchmark: Benchmark, path: Path, only: Collection[str]) -> Found:
    try:
        content: dict[str, Any] = read_json(path)
        sequences = tuple(
            BenchmarkSequence(
                name,
                np.array(item["gt"], np.float64).reshape(-1, 4),
                attributes=_flagged(benchmark, item.get("att", ()), path),
            )
            for name, item in _pick(benchmark, path, content, only).items()
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DatasetError(f"{path} is not an annotation file of {benchmark.name}: {error!r}") from None
    checked = tuple(_checked(sequence, path) for sequence in sequences)
    return Found(benchmark, path.parent, checked, _missing(benchmark, content), tuple(content), (path,))


def _checked(sequence: BenchmarkSequence, where: Path) -> BenchmarkSequence:
    if not has_area(sequence.boxes[0]):
        raise DatasetError(f"{where}: the first box of {sequence.name} must be finite and have an area")
    return sequence


def _flagged(benchmark: Benchmark, flags: Collection[Any], where: Path) -> tuple[str, ...]:
    if flags and len(flags) != len(benchmark.attributes):
        raise DatasetError(f"{where} has {len(flags)} attributes, but {benchmark.name} has {len(benchmark.attributes)}")
    return tuple(name for name, flag in zip(benchmark.attributes, flags, strict=False) if float(flag))


def _read_nfs(path: Path) -> FloatArray:
    """Read Need for Speed's boxes and keep every eighth, which leaves 30 of 240 a second."""
    try:
        corners = np.array([[float(value) for value in line.split()[1:5]] for line in read_lines(path)][::8])
        return np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    except (ValueError, IndexError):
        raise DatasetError(f"{path} is not a file of Need for Speed boxes") from None


def _read_size(path: Path) -> tuple[int, int]:
    lines: Iterator[str] = (line for line in read_lines(path) if line.startswith("resolution:"))
    try:
        width, height = ast.literal_eval(next(lines).partition(":")[2].strip())
        return int(width), int(height)
    except (StopIteration, ValueError, SyntaxError, TypeError):
        raise DatasetError(f"{path} has no line 'resolution: (width, height)'") from None
