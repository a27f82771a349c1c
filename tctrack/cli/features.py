"""Write the clip features of long videos.

Slides a video classifier over each video and writes the features before its classifier, one row for each clip, to
`VIDEO.npy` or `VIDEO.h5` in the output folder. Videos that cannot be read, or are shorter than a clip, are counted and
skipped.

Examples:
    tctrack features videos/*.mp4 --model runs/hacs/model.safetensors --out features
    tctrack features game.mp4 --model tada2d_r50 --weights TAda2D_8x8.pth --stride 8 --format h5 --out .
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tctrack.cli.classifier import add_model_arguments, read_model_arguments
from tctrack.config import Count, argument


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("videos", metavar="VIDEO", type=Path, nargs="+", help="video file")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder of the features")
    parser.add_argument("--format", choices=("npy", "h5"), default="npy", help="kind of file")
    parser.add_argument("--stride", type=argument(Count), default=16, help="video frames from one clip to the next")
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Extract the features of every video."""
    import sys
    from collections import Counter

    from tctrack.action.localization import extract_features, write_features
    from tctrack.errors import DatasetError, OutputError
    from tctrack.files import check_outputs, make_folder

    stem, count = Counter(video.stem for video in args.videos).most_common(1)[0]
    if count > 1:
        raise OutputError(
            f"{count} videos are called '{stem}' and would write one file; give each folder its own --out"
        )
    paths = {video: args.out / f"{video.stem}.{args.format}" for video in args.videos}
    check_outputs({str(path): path for path in paths.values()}, [*args.videos, args.model, args.weights])
    classifier, spec = read_model_arguments(args)
    make_folder(args.out)
    skipped = 0
    for video in args.videos:
        try:
            features = extract_features(classifier.model, video, spec, stride=args.stride)
        except DatasetError as error:
            print(f"skipped: {error}", file=sys.stderr)
            skipped += 1
            continue
        write_features(paths[video], features)
        print(f"{paths[video]}: {features.shape[0]} clips of {features.shape[1]} channels")
    if skipped:
        print(f"{skipped} of {len(args.videos)} videos skipped")
    return 2 if skipped == len(args.videos) else 0
