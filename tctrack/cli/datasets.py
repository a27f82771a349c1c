"""List the benchmarks, and what is found of them under a folder.

Each benchmark is read in the layout in which it is distributed, so nothing has to be converted; a partial download can
be used. With --root, the sequences found there are counted and the missing ones named. With a NAME, its layout,
attributes and sequences are listed.

Examples:
  tctrack datasets
  tctrack datasets --root data
  tctrack datasets UAV123@10fps --root data/UAV123_10fps
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from tctrack.errors import DatasetError

if TYPE_CHECKING:
    from tctrack.benchmark.catalogue import Benchmark


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="benchmark to describe in full")
    parser.add_argument("--root", type=Path, metavar="DIR", help="folder to look in")


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    from tctrack.benchmark.catalogue import benchmark_names, describe

    if args.name:
        _describe(describe(args.name), args.root)
        return 0
    for name in benchmark_names():
        benchmark = describe(name)
        print(f"{name:14} {benchmark.about}")
        print(f"{'':14} {benchmark.size}, {benchmark.source}")
        print(f"{'':14} {benchmark.layouts[0].images}, {benchmark.layouts[0].boxes}")
        if args.root:
            print(f"{'':14} {_found(name, args.root)}")
    return 0


def _found(name: str, root: Path) -> str:
    from tctrack.benchmark.catalogue import load_benchmark

    try:
        found = load_benchmark(name, root)
    except DatasetError as error:
        return str(error).partition(";")[0]
    frames = sum(len(sequence) for sequence in found.sequences)
    missing = f"; {len(found.missing)} missing" if found.missing else ""
    return f"found {len(found.sequences)} sequences, {frames} frames in {found.root}{missing}"


def _describe(benchmark: Benchmark, root: Path | None) -> None:
    from tctrack.benchmark.catalogue import load_benchmark

    print(f"{benchmark.name}: {benchmark.about}\n{benchmark.size}, {benchmark.source}\n\nLayout:")
    for layout in benchmark.layouts:
        print(f"  {layout.images}, {layout.boxes}")
    if benchmark.attributes:
        print("\nAttributes:")
        for abbreviation, meaning in benchmark.attributes.items():
            print(f"  {abbreviation:4} {meaning}")
    if benchmark.sequences:
        print(f"\n{len(benchmark.sequences)} sequences:\n{_wrapped(benchmark.sequences)}")
    if root:
        found = load_benchmark(benchmark.name, root)
        print(f"\nFound in {found.root}: {len(found.sequences)}\n{_wrapped(item.name for item in found.sequences)}")
        if found.missing:
            print(f"\nMissing: {len(found.missing)}\n{_wrapped(found.missing)}")


def _wrapped(names: Iterable[str]) -> str:
    return textwrap.fill(", ".join(names), 118, initial_indent="  ", subsequent_indent="  ")
