"""Every error the project raises on purpose.

Each message is one line that names the input and says how to mend it; the command line prints it and exits with 2.
"""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Iterable
from typing import Any

#: In URLs, also those that a path has shortened to ``:/``, what stands before ``@``, and what a query calls a password.
_SECRETS = re.compile(r"(://?)(?:[^\s/?#@]*:\S*|[^\s/?#]*)(?=@)|([?&](?:pass|passwd|password|pwd|token)=)[^\s&]+", re.I)


def mask(text: str) -> str:
    """Return a text without the user names and passwords of the URLs in it, fit to be printed, logged and stored."""
    return _SECRETS.sub(r"\1\2***", text)


class TCTrackError(Exception):
    """Base of all errors caused by input that the user can mend; its text is masked."""

    def __init__(self, *lines: str) -> None:
        super().__init__(*map(mask, lines))


class ConfigError(TCTrackError):
    """A configuration file or override is malformed, or names an unknown key or value."""


class CheckpointError(TCTrackError):
    """A checkpoint is missing, damaged, unsafe, or does not fit the model."""


class BoxError(TCTrackError):
    """A box is empty, not finite, or outside the frame."""


class SourceError(TCTrackError):
    """A video source cannot be opened or read."""


class OutputError(TCTrackError):
    """A result cannot be written or shown."""


class DatasetError(TCTrackError):
    """A data set, annotation or result file is missing or malformed."""


class TrackerError(TCTrackError):
    """A tracker failed on a sequence; its own error is the cause."""


class DependencyError(TCTrackError):
    """An optional package or device that the request needs is not there."""


def require(package: str, extra: str, instead: str = "") -> Any:
    """Import an optional package.

    Args:
        package: its name, or that of a module in it.
        extra: the extra of this project that brings it.
        instead: what else the user can do.

    Raises:
        DependencyError: it cannot be imported.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        way = f"pip install '.[{extra}]' in a clone of this project" + (f", or {instead}" if instead else "")
        raise DependencyError(f"cannot import {error.name or package} ({error}); {way}") from None


def suggest(name: str, choices: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest choice, else the list of choices."""
    known = sorted(choices)
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean '{close[0]}'?" if close else f"; choose one of: {', '.join(known)}"
