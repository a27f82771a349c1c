"""``python tools/train.py``: the same as ``tctrack train``."""

from __future__ import annotations

import sys

from tctrack.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
