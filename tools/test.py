"""``python tools/test.py``: the same as ``tctrack test``."""

from __future__ import annotations

import sys

from tctrack.cli import main

if __name__ == "__main__":
    sys.exit(main(["test", *sys.argv[1:]]))
