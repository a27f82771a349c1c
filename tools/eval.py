"""``python tools/eval.py``: the same as ``tctrack eval``."""

from __future__ import annotations

import sys

from tctrack.cli import main

if __name__ == "__main__":
    sys.exit(main(["eval", *sys.argv[1:]]))
