"""Repeat the hypothesis test of the TAdaConv paper on generated motion; write its table and figure.

python tools/hypothesis.py --out docs
"""

import argparse
import logging
from pathlib import Path

from tctrack.action.hypothesis import write_report

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder of hypothesis.md and hypothesis.png")
    parser.add_argument("--steps", type=int, default=300, help="training steps of a row")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="seeds of a row")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    write_report(options.out, steps=options.steps, seeds=options.seeds)
