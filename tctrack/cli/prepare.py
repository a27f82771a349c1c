"""Cut a training set into a crop pack: square crops around the targets, in shards that tctrack train reads.

KIND says how ROOT is laid out, which is as the set is distributed: vid (ImageNet VID, the folder ILSVRC2015), got10k,
lasot (without its testing split), trackingnet, coco, youtubebb (its .csv files, and beside them the frames as
CSV_NAME/CLASS/YOUTUBEID_MILLISECONDS_CLASS_OBJECT.jpg), folder (NAME.mp4 or NAME/ with images, and a box x,y,w,h for
each frame in NAME.txt or NAME/groundtruth.txt, NaN where the target is absent), yolo (images/ beside labels/ or
polygons/) or tracks (images, and tracks.json {"VIDEO/ID": [[IMAGE, x, y, w, h], ...]} or stills.json {IMAGE: [[LABEL,
x, y, w, h], ...]} or both, in pixels; the targets of one VIDEO share its images).

A run that was stopped goes on when it is repeated; the result is the same to the byte, with any number of workers.
Damaged images are left out and named. Each pack holds one set; training mixes packs by weight.

Examples:
  tctrack prepare got10k data/GOT-10k --out packs/got10k --stride 5
  tctrack prepare coco data/coco --out packs/coco --smallest 16
  tctrack prepare tracks annotated --out packs/annotated
  tctrack prepare folder recordings --out packs/own --licence "ours"
  tctrack prepare lasot data/LaSOT --out packs/lasot511 --size 511 --max-frames 200    # TCTrack's own recipe
"""

from __future__ import annotations

import argparse
import os
from dataclasses import fields
from pathlib import Path
from typing import Annotated

from tctrack.config import Bounds, Workers, argument

#: Damaged frames that are named on the console; the manifest names all.
SHOWN = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("kind", metavar="KIND", help="how the set is laid out, see above")
    parser.add_argument("root", metavar="ROOT", type=Path, help="folder of the set")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder of the pack")
    parser.add_argument("--size", type=int, default=384, help="side of the crops in pixels (default: %(default)s)")
    parser.add_argument("--quality", type=int, default=90, help="JPEG quality, 1 to 100 (default: %(default)s)")
    parser.add_argument("--stride", type=int, default=1, help="keep every so many frames (default: %(default)s)")
    parser.add_argument("--max-frames", type=int, metavar="N", help="keep at most so many frames of a track")
    parser.add_argument(
        "--smallest",
        type=argument(Annotated[float, Bounds(1)]),
        default=8.0,
        metavar="PX",
        help="shortest side of a box (default: %(default)s)",
    )
    parser.add_argument(
        "--shard-mb",
        type=argument(Annotated[float, Bounds(0.01)]),
        default=256.0,
        metavar="MB",
        help="size of a shard (default: 256)",
    )
    parser.add_argument("--licence", metavar="TEXT", help="what the manifest says of it, in place of what is known")
    parser.add_argument(
        "--workers",
        type=argument(Workers),
        default=os.cpu_count(),
        metavar="N",
        help="processes (default: one for each core)",
    )


def run(args: argparse.Namespace) -> int:
    """Prepare the pack."""
    from tctrack.config import build
    from tctrack.errors import mask
    from tctrack.training.prepare import PrepareOptions, prepare

    options = build(PrepareOptions, {field.name: getattr(args, field.name) for field in fields(PrepareOptions)}, "--")
    manifest = prepare(args.kind, args.root, args.out, options, args.licence, args.workers)
    amount = f"{manifest['tracks']} tracks, {manifest['frames']} crops, {manifest['bytes'] / 1e6:.1f} MB"
    print(f"{args.out}: {amount}; licence: {mask(manifest['licence'])}")
    skipped = manifest["skipped"]
    if skipped:
        more = f", and more in {args.out / 'manifest.json'}" if len(skipped) > SHOWN else ""
        print(f"left out {len(skipped)} damaged frames: {', '.join(skipped[:SHOWN])}{more}")
    return 0
