"""Turn a released checkpoint into a safetensors file.

Reads the .pth files that the authors of TCTrack and TCTrack++ released (or any .safetensors with their keys), without
running code from them. The architecture follows from the keys; keys that the network never uses are dropped and listed.
The result names its architecture, and `--model FILE` and `--weights FILE` of the other verbs take it.

Examples:
    tctrack convert tctrack.pth --out tctrack.safetensors
    tctrack track video.mp4 --model tctrack.safetensors
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("file", metavar="FILE", type=Path, help="checkpoint to read, .pth or .safetensors")
    parser.add_argument("--out", metavar="FILE", type=Path, required=True, help="safetensors file to write")


def run(args: argparse.Namespace) -> int:
    """Convert the checkpoint."""
    from tctrack.checkpoint.load import convert_file
    from tctrack.errors import OutputError
    from tctrack.files import check_outputs

    check_outputs({"--out": args.out}, [args.file])
    if args.out.suffix != ".safetensors":
        raise OutputError(f"--out '{args.out}' must end in .safetensors")
    checkpoint, dropped = convert_file(args.file, args.out)
    for key in dropped:
        print(f"dropped {key} (unused)")
    print(f"{args.out}: {checkpoint.metadata['architecture']}, {len(checkpoint.tensors)} tensors")
    return 0
