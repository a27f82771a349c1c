"""``python tools/track.py``: the same as ``tctrack track``."""

from __future__ import annotations

import sys

from tctrack.cli import main

if __name__ == "__main__":
    sys.exit(main(["track", *sys.argv[1:]]))
