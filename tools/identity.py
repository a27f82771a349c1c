"""Print how often trackers leave their target for a look-alike, in generated scenes and in recorded sequences.

Columns, by tracker: jumps in 100 frames (in recordings, where look-alikes have no boxes, sudden losses of the target),
sequences kept to the end, mean frames before the first jump, frames on target.

python tools/identity.py tctrack-lite nano,weights=FOLDER nanotrack,weights=FOLDER,label=NanoTrackV3 --workers 2
python tools/identity.py tctrack-lite,weights=runs/lite/tctrack-lite.safetensors --scenes 12 --sheet identity.png
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from tctrack.benchmark.catalogue import load_benchmark
from tctrack.benchmark.identity import SceneSequence, generate_scenes, identify, summarize
from tctrack.benchmark.run import run_trackers
from tctrack.benchmark.sequences import BenchmarkSequence
from tctrack.cli.selection import add_launch_arguments, make_launcher, parse_trackers
from tctrack.errors import ConfigError, TCTrackError
from tctrack.scenes.lookalikes import KINDS
from tctrack.types import Box, FloatArray, Frame
from tctrack.video import contact_sheet, draw_box, write_picture

#: Boxes ``(T, 4)`` by tracker and sequence.
Boxes = dict[str, dict[str, FloatArray]]

RECORDED = [f"UAV123_10fps_{name}" for name in ("group2_2", "group3_2", "person9", "person11")]
#: BGR colours of the boxes on the sheet.
TARGET, LOOKALIKE = (255, 255, 255), (0, 140, 255)
TRACKERS = [(80, 230, 60), (255, 170, 40), (230, 80, 240), (60, 60, 240), (60, 240, 240)]
#: Pictures of a scene, the frames between them, and the window of each (width, height), shown at ``ZOOM``.
PICTURES, STEP, WINDOW, ZOOM = 7, 5, (200, 150), 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tracker", nargs="+", help="NAME[,key=value...], as of 'tctrack test'")
    parser.add_argument("--scenes", type=int, default=6, metavar="N", help="generated scenes of each kind (default: 6)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="another seed, other scenes (default: 0)")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), metavar="DIR", help="holds videos/")
    parser.add_argument("--sequences", nargs="*", default=RECORDED, metavar="SEQ", help="recordings below videos/")
    parser.add_argument(
        "--sheet", type=Path, metavar="FILE.png", help="picture of a scene of each kind; five trackers at most"
    )
    add_launch_arguments(parser)
    try:
        run(parser.parse_args())
    except TCTrackError as error:
        parser.exit(2, f"error: {error}\n")


def run(args: argparse.Namespace) -> None:
    if args.scenes < 1:
        raise ConfigError(f"--scenes {args.scenes} measures nothing; give at least 1")
    factories = parse_trackers(args.tracker)
    scenes = generate_scenes(args.scenes, args.seed)
    recorded: Sequence[BenchmarkSequence] = ()
    if not (args.data / "videos").is_dir():
        print(f"no recordings: there is no {args.data / 'videos'}; give --data DIR", file=sys.stderr)
    elif args.sequences:
        recorded = load_benchmark("folder", args.data / "videos", args.sequences).sequences
    boxes = run_trackers(factories, [*scenes, *recorded], make_launcher(args))

    print("torch", torch.__version__)
    groups = {f"{kind} ({args.scenes})": [scene for scene in scenes if scene.kind == kind] for kind in KINDS}
    print_table("generated", boxes, groups | {f"all ({len(scenes)})": scenes})
    if recorded:
        each = {sequence.name: [sequence] for sequence in recorded}
        print_table("recorded", boxes, each | {f"all ({len(recorded)})": recorded})
    if args.sheet:
        write_picture(args.sheet, draw_sheet(boxes, groups.values()))
        print(f"wrote {args.sheet}")


def print_table(title: str, boxes: Boxes, groups: Mapping[str, Sequence[BenchmarkSequence]]) -> None:
    print(f"\n{title:24}", *(f"  {tracker:^27.27}" for tracker in boxes))
    print(f"{'':24}", *("  jumps/100  kept first    on" for _ in boxes))
    for name, sequences in groups.items():
        cells = []
        for found in boxes.values():
            mean = summarize(identify(sequence, found[sequence.name]) for sequence in sequences)
            cells.append(f"  {mean.jumps_per_100:9.2f} {mean.kept:5.0%} {mean.first_jump:5.0f} {mean.on_target:5.0%}")
        print(f"{name:24}", *cells)


def draw_sheet(boxes: Boxes, groups: Iterable[Sequence[SceneSequence]]) -> Frame:
    """Draw a row for each kind: the scene where the first tracker jumps first, about that jump, and a legend above."""
    found = next(iter(boxes.values()))
    pictures = []
    for scenes in groups:
        scene = min(scenes, key=lambda scene: identify(scene, found[scene.name]).first_jump)
        first = identify(scene, found[scene.name]).first_jump
        middle = first if first < len(scene) else len(scene) // 2
        start = min(max(middle - PICTURES // 2 * STEP, 0), len(scene) - 1 - (PICTURES - 1) * STEP)
        for t, frame in enumerate(scene.frames()):
            if t in range(start, start + PICTURES * STEP, STEP):
                pictures.append(draw_picture(scene, t, frame, boxes))
    sheet = contact_sheet(pictures, PICTURES, PICTURES * WINDOW[0] * ZOOM)
    colours = {"target": TARGET, "look-alike": LOOKALIKE} | dict(zip(boxes, TRACKERS, strict=False))
    legend = np.full((64, sheet.shape[1], 3), 24, np.uint8)
    x = 24
    for name, colour in colours.items():
        cv2.rectangle(legend, (x, 20), (x + 24, 44), colour, 3)
        cv2.putText(legend, name, (x + 36, 42), cv2.FONT_HERSHEY_DUPLEX, 0.9, colour, 1, cv2.LINE_AA)
        x += 80 + cv2.getTextSize(name, cv2.FONT_HERSHEY_DUPLEX, 0.9, 1)[0][0]
    return np.asarray(np.vstack((legend, sheet)), np.uint8)


def draw_picture(scene: SceneSequence, t: int, frame: Frame, boxes: Boxes) -> Frame:
    """Draw the window about the target with all boxes."""
    size = np.array(WINDOW)
    corner = scene.boxes[t, :2] + (scene.boxes[t, 2:] - size) / 2
    left, top = np.clip(np.round(corner), 0, np.array(frame.shape[1::-1]) - size).astype(int).tolist()
    window = frame[top : top + WINDOW[1], left : left + WINDOW[0]]
    picture = cv2.resize(window, None, fx=ZOOM, fy=ZOOM, interpolation=cv2.INTER_CUBIC)
    drawn = [(box, LOOKALIKE) for box in scene.lookalikes[t]] + [(scene.boxes[t], TARGET)]
    drawn += [(found[scene.name][t], colour) for found, colour in zip(boxes.values(), TRACKERS, strict=False)]
    for box, colour in drawn:
        x, y, w, h = ((box - (left, top, 0, 0)) * ZOOM).tolist()
        draw_box(picture, Box(x, y, w, h), colour=colour)
    cv2.putText(picture, f"{scene.name}, frame {t}", (8, 20), cv2.FONT_HERSHEY_DUPLEX, 0.6, TARGET, 1, cv2.LINE_AA)
    return np.asarray(picture, np.uint8)


if __name__ == "__main__":
    main()
