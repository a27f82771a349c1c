"""The door to files: what counts as an image or a video, how names sort, and writing whole or not at all."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from tctrack.errors import DatasetError

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
VIDEO_SUFFIXES = frozenset({".avi", ".mkv", ".mov", ".mp4", ".webm"})


def natural_key(text: str) -> list[tuple[int, str]]:
    """Sort key that puts ``frame10`` after ``frame9``."""
    return [(int(part), "") if part.isdecimal() else (-1, part.lower()) for part in re.split(r"(\d+)", text)]


def find_file(stem: Path, suffixes: Collection[str]) -> Path | None:
    """Return the file whose path is ``stem`` and one of the suffixes, in lower or upper case."""
    paths = (Path(f"{stem}{written}") for suffix in sorted(suffixes) for written in (suffix, suffix.upper()))
    return next((path for path in paths if path.is_file()), None)


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        DatasetError: it cannot be read.
        ValueError: it is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DatasetError(f"cannot read '{path}': {error.strerror}") from None
