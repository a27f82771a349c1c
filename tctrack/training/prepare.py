"""Cut training sets into crop packs: shards of crops that training reads in any order.

A pack is a folder of ``shard-NNNNNN.tar``, each with an index ``shard-NNNNNN.json``, and of ``manifest.json``, which is
written last. The tar files follow the convention of webdataset: a sample is ``TRACK/NNNNNN.jpg`` and
``TRACK/NNNNNN.json`` (its box), so they can also be streamed without the index. The index maps each track to rows of
offset, size, x, y, w, h of its crops.

The bytes depend on the data and the options alone. A shard holds whole recordings in their order, so that a run which
was stopped goes on after the last shard that has its index.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import json
import multiprocessing
import os
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from tctrack.config import Bounds, Count
from tctrack.errors import DatasetError, OutputError, SourceError, TCTrackError
from tctrack.files import Draft, is_name, make_folder, read_json, sha256, write_text
from tctrack.geometry.boxes import context_side, has_area
from tctrack.geometry.crops import crop_subpixel, mean_colour
from tctrack.training.packs import CONTEXT, STILL
from tctrack.training.sets import TRAINING_SETS, Item, Recording, find_items
from tctrack.types import FloatArray, Frame
from tctrack.video import open_source, read_image


@dataclass(frozen=True)
class PrepareOptions:
    """How crops are cut and packed."""

    size: Annotated[int, Bounds(CONTEXT, 8192)] = 384
    """Side of the crops in pixels."""
    quality: Annotated[int, Bounds(1, 100)] = 90
    """JPEG quality, 1–100."""
    stride: Count = 1
    """Keep every so many frames of a video's track."""
    max_frames: Count | None = None
    """Keep at most so many frames of a video's track, evenly spread."""
    smallest: Annotated[float, Bounds(1)] = 8.0
    """Leave out boxes with a shorter side, in pixels of the original frame."""
    shard_mb: Annotated[float, Bounds(0.01)] = 256.0
    """A shard ends with the recording that takes it past so many megabytes."""


class Crop(NamedTuple):
    """The number of a frame in its recording, the crop as JPEG, and the target's x, y, w, h in the crop."""

    number: int
    jpeg: bytes
    box: list[float]


class Cuttings(NamedTuple):
    """A recording's crops by track, and the names of its damaged frames: ``FILE``, or ``VIDEO#NUMBER``."""

    tracks: dict[str, list[Crop]]
    skipped: list[str]


def prepare(
    kind: str, root: Path, out: Path, options: PrepareOptions, licence: str | None = None, workers: int = 0
) -> dict[str, Any]:
    """Cut a training set into a pack, or resume one; return the manifest.

    Args:
        kind: one of :data:`tctrack.training.sets.TRAINING_SETS`.
        root: folder of the training set.
        out: folder of the pack.
        options: how to cut.
        licence: licence in the manifest; None for that of the kind.
        workers: processes that cut, 0 for this one alone; the result is the same.

    Raises:
        DatasetError: ``root`` has another layout, an annotation is malformed, or nothing could be cut.
        OutputError: ``out`` cannot be written, or holds a pack of other data or options.
    """
    items = find_items(kind, root)
    names = hashlib.sha256("\n".join(item.name for item in items).encode()).hexdigest()
    licence = TRAINING_SETS[kind].licence if licence is None else licence
    header = {"kind": kind, "licence": licence, **asdict(options), "recordings": len(items), "names_sha256": names}
    cv2.setNumThreads(0)  # OpenCV's thread pool does not survive the fork of the workers
    make_folder(out)
    shards = _finished(out, header)
    if not shards and (out / "manifest.json").is_file():
        raise OutputError(f"'{out / 'manifest.json'}' is not of this pack; choose another folder")
    done = shards[-1]["end"] if shards else 0
    cuttings = _cut_all(items[done:], options, root, workers)
    results = iter(tqdm(cuttings, "prepare", len(items), initial=done, unit="recording", mininterval=1))
    while done < len(items):
        shards.append(_write_shard(out / f"shard-{len(shards):06d}.tar", header, results, done))
        done = shards[-1]["end"]
    manifest = {**header, **{name: sum(shard[name] for shard in shards) for name in ("tracks", "frames", "bytes")}}
    manifest["skipped"] = [name for shard in shards for name in shard.pop("skipped")]
    if not manifest["frames"]:
        why = f"{len(manifest['skipped'])} are damaged or missing"
        raise DatasetError(f"no frame of {kind} under '{root}' could be cut, {why}; mend that and remove '{out}'")
    write_text(out / "manifest.json", json.dumps({**manifest, "shards": shards}, indent=1))
    return manifest


def cut(recording: Recording, options: PrepareOptions, root: Path) -> Cuttings:
    """Cut the crops of a recording's targets; ``root`` is left out of the names of damaged frames.

    Raises:
        DatasetError: a track's name cannot be that of files in the pack.
    """
    for name in recording.tracks:
        if not all(map(is_name, name.split("/"))):
            raise DatasetError(f"a track is called {name!a}, which no file can be; rename it in the annotation")
    chosen = {name: _choose(name, boxes, options) for name, boxes in recording.tracks.items()}
    tracks: dict[str, list[Crop]] = {name: [] for name in chosen}
    skipped: dict[str, None] = {}
    for number, name, frame in _frames(recording.frames, sorted(set().union(*chosen.values()))):
        if frame is None:
            skipped[name.removeprefix(f"{root}/")] = None
            continue
        fill = mean_colour(frame)
        unit = np.tile(frame.shape[1::-1], 2) if recording.relative else 1
        for track, numbers in chosen.items():
            if number in numbers:
                tracks[track] += _cut(number, frame, recording.tracks[track][number] * unit, fill, options)
    return Cuttings({track: crops for track, crops in tracks.items() if crops}, list(skipped))


def _choose(name: str, boxes: FloatArray, options: PrepareOptions) -> set[int]:
    """Return the numbers of the frames to keep of a track."""
    numbers = np.flatnonzero(has_area(boxes))
    if not name.startswith(STILL):
        numbers = numbers[:: options.stride]
        most = options.max_frames or len(numbers)
        if len(numbers) > most:
            numbers = numbers[np.linspace(0, len(numbers) - 1, most).round().astype(int)]
    return set(numbers.tolist())


def _frames(source: Path | tuple[Path, ...], numbers: list[int]) -> Iterator[tuple[int, str, Frame | None]]:
    """Yield the frames of the given ascending numbers with their names, None for those that are damaged or missing."""
    if isinstance(source, tuple):
        for path, same in itertools.groupby(numbers, source.__getitem__):
            image = read_image(path)
            yield from ((number, str(path), image) for number in same)
        return
    missing = dict.fromkeys(numbers)
    with contextlib.suppress(SourceError), open_source(source) as video:
        for frame in itertools.takewhile(lambda _: video.number <= max(numbers, default=-1), video):
            if video.number in missing:
                del missing[video.number]
                yield video.number, str(source), frame
    yield from ((number, f"{source}#{number}", None) for number in missing)


def _cut(number: int, frame: Frame, box: FloatArray, fill: NDArray[np.uint8], options: PrepareOptions) -> list[Crop]:
    """Return the crop about a box in frame pixels, or none where it is too small or outside the frame."""
    x, y, w, h = map(float, box)
    height, width = frame.shape[:2]
    if min(w, h) < options.smallest or x >= width or y >= height or x + w <= 0 or y + h <= 0:
        return []
    scale, middle = CONTEXT / context_side(w, h), options.size / 2
    crop = crop_subpixel(frame, (x + w / 2, y + h / 2), options.size / scale, options.size, fill)
    _, jpeg = cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, options.quality])
    placed = (middle - w / 2 * scale, middle - h / 2 * scale, w * scale, h * scale)
    return [Crop(number, jpeg.tobytes(), [round(value, 3) for value in placed])]


class _Cutter(Dataset["Cuttings | TCTrackError"]):
    """Cuts one recording at a time; an error is an item, so that it reaches the parent in one piece."""

    def __init__(self, items: list[Item], options: PrepareOptions, root: Path) -> None:
        self._items, self._options, self._root = items, options, root

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Cuttings | TCTrackError:
        item = self._items[index]
        try:
            return cut(item.read(), self._options, self._root)
        except (OSError, UnicodeDecodeError) as error:
            return DatasetError(f"cannot read the annotation of '{item.name}': {error}")
        except TCTrackError as error:
            return error


def _cut_all(items: list[Item], options: PrepareOptions, root: Path, workers: int) -> Iterator[Cuttings]:
    """Cut recordings in their order."""
    cutter = _Cutter(items, options, root)
    for result in DataLoader(
        cutter, batch_size=None, num_workers=workers, collate_fn=_as_it_is, worker_init_fn=_end_with_parent
    ):
        if isinstance(result, TCTrackError):
            raise result
        yield result


def _as_it_is(result: Any) -> Any:
    return result


def _end_with_parent(_: int) -> None:
    """End this worker with its parent; if that is killed, nobody reads the result that this one waits to hand over."""

    def wait() -> None:
        if parent := multiprocessing.parent_process():
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _finished(out: Path, header: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the entries of the shards that are there and whole."""
    shards: list[dict[str, Any]] = []
    for path in map(out.joinpath, (f"shard-{number:06d}.tar" for number in itertools.count())):
        index = path.with_suffix(".json")
        if not (path.is_file() and index.is_file()):
            break
        try:
            content = read_json(index)
            pack, shard, size = content["pack"], content["shard"], content["shard"]["bytes"]
        except (ValueError, KeyError, TypeError):
            raise OutputError(f"'{index}' is not the index of a shard; choose another folder") from None
        for key, value in header.items():
            if pack.get(key) != value:
                begun = f"'{out}' was begun with {key}={pack.get(key)!r}, not {value!r}"
                raise OutputError(f"{begun}; give the same data and options, or another folder")
        if path.stat().st_size != size:
            break
        shards.append(shard)
    return shards


def _write_shard(path: Path, header: dict[str, Any], results: Iterator[Cuttings], done: int) -> dict[str, Any]:
    """Write the next shard and its index; return its entry in the manifest."""
    tracks: dict[str, list[list[float]]] = {}
    skipped: list[str] = []
    with Draft(path) as draft:
        with draft.part.open("wb") as file, tarfile.open(fileobj=file, mode="w") as tar:
            for cuttings in results:
                done += 1
                skipped += cuttings.skipped
                for track, crops in cuttings.tracks.items():
                    rows = tracks[track] = []
                    for number, jpeg, box in crops:
                        rows.append([_add(tar, f"{track}/{number:06d}.jpg", jpeg), len(jpeg), *box])
                        _add(tar, f"{track}/{number:06d}.json", json.dumps({"box": box}).encode())
                if file.tell() >= header["shard_mb"] * 1e6:
                    break
        entry = {
            "file": path.name,
            "bytes": draft.part.stat().st_size,
            "sha256": sha256(draft.part),
            "end": done,
            "tracks": len(tracks),
            "frames": sum(map(len, tracks.values())),
            "skipped": skipped,
        }
    write_text(path.with_suffix(".json"), json.dumps({"pack": header, "shard": entry, "tracks": tracks}))
    return entry


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> int:
    """Append a file; return the offset of its data."""
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
    return tar.offset - -(-len(data) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
