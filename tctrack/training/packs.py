"""Crop packs: recorded tracks as square crops around the target, loose in folders or packed in shards.

Every crop has the template's scale, in which the target's context spans :data:`CONTEXT` pixels, and exceeds a search
crop. A track whose name starts with :data:`STILL` is a set of single images.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tctrack.errors import DatasetError
from tctrack.files import read_json
from tctrack.types import FloatArray, Frame
from tctrack.video import decode_image

#: Pixels that the side of the target's context spans (:func:`tctrack.geometry.boxes.context_side`).
CONTEXT = 127.0
#: Prefix of the names of single images.
STILL = "img_"


class Pack(Protocol):
    """Tracks of crops; reading is safe in forked workers, since no file stays open."""

    names: list[str]
    """One for each track."""
    boxes: list[FloatArray]
    """The target's x, y, w, h in the pixels of each crop, ``(T, 4)`` for each track."""

    def read(self, track: int, frame: int) -> Frame:
        """Return a crop, ``(S, S, 3)`` uint8 BGR.

        Raises:
            DatasetError: it cannot be read.
        """


def open_pack(root: Path) -> Pack:
    """Open what ``tctrack prepare`` wrote, or a folder of images with a ``boxes.json``.

    Raises:
        DatasetError: ``root`` is neither, is unfinished or empty, or its index is malformed.
    """
    if not (root / "manifest.json").is_file() and any(root.glob("shard-*")):
        raise DatasetError(f"the pack '{root}' is unfinished; run tctrack prepare again, it goes on where it stopped")
    pack: Pack = ShardPack(root) if (root / "manifest.json").is_file() else LoosePack(root)
    if not pack.names:
        raise DatasetError(f"the pack '{root}' holds no track")
    return pack


class LoosePack:
    """Images in folders, with a ``boxes.json`` of ``{track: [[file, x, y, w, h], …]}``."""

    def __init__(self, root: Path) -> None:
        index = root / "boxes.json"
        if not index.is_file():
            raise DatasetError(f"no '{index}' nor a manifest.json beside it; give the folder of a crop pack")
        self.names: list[str] = []
        self.boxes: list[FloatArray] = []
        self._files: list[list[Path]] = []
        try:
            for name, rows in read_json(index).items():
                self.names.append(name)
                self.boxes.append(np.array([row[1:5] for row in rows], np.float64).reshape(-1, 4))
                self._files.append([root / name / row[0] for row in rows])
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            raise DatasetError(f"'{index}' is not a mapping of tracks to [file, x, y, w, h] rows: {error}") from None

    def read(self, track: int, frame: int) -> Frame:
        """Return a crop; see :class:`Pack`."""
        path = self._files[track][frame]
        return _decode(path.read_bytes() if path.is_file() else b"", path)


class ShardPack:
    """Tar files, each with an index of where in it the crops lie (:mod:`tctrack.training.prepare`)."""

    def __init__(self, root: Path) -> None:
        self.names: list[str] = []
        self.boxes: list[FloatArray] = []
        self._places: list[tuple[Path, NDArray[np.int64]]] = []
        index = root / "manifest.json"
        try:
            for entry in read_json(index)["shards"]:
                shard = root / entry["file"]
                if not shard.is_file() or shard.stat().st_size != entry["bytes"]:
                    raise DatasetError(f"'{shard}' is missing or truncated; copy it again, or run tctrack prepare")
                index = shard.with_suffix(".json")
                for name, rows in read_json(index)["tracks"].items():
                    table = np.array(rows, np.float64).reshape(-1, 6)
                    self.names.append(name)
                    self.boxes.append(table[:, 2:])
                    self._places.append((shard, table[:, :2].astype(np.int64)))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DatasetError(f"'{index}' is not an index of a crop pack: {error!r}") from None

    def read(self, track: int, frame: int) -> Frame:
        """Return a crop; see :class:`Pack`."""
        shard, places = self._places[track]
        offset, size = places[frame]
        with shard.open("rb", buffering=0) as file:
            file.seek(offset)
            return _decode(file.read(size), shard)


def _decode(data: bytes, path: Path) -> Frame:
    image = decode_image(data)
    if image is None:
        raise DatasetError(f"cannot read training image '{path}'")
    return image
