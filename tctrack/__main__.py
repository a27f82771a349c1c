"""``python -m tctrack``."""

import sys

from tctrack.cli import main

if __name__ == "__main__":
    sys.exit(main())
