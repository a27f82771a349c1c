"""The same as ``tctrack convert``."""

import sys

from tctrack.cli import main

if __name__ == "__main__":
    sys.exit(main(["convert", *sys.argv[1:]]))
