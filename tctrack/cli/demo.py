"""Make an aerial clip with known boxes, track its target, and show how well it went.

Writes clip.mp4 (what the camera sees), tracked.mp4 (the tracker's box in green), contact_sheet.png (close-ups,
the true box in white) and truth.txt (one x,y,w,h line a frame).

Examples:
  tctrack demo
  tctrack demo --out flight --seed 7 --frames 300
  tctrack demo --model mil
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tctrack.config import Bounds, Whole, argument

if TYPE_CHECKING:
    from tctrack.scenes.synthetic import Scene
    from tctrack.types import Box, Frame

#: Pictures on the contact sheet, and how many stand side by side.
PICTURES, COLUMNS = 12, 3
#: Frames of the clip, and pixels along its sides.
Length = Annotated[int, Bounds(2, 100_000)]
MOST = 8192


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("--out", type=Path, default=Path("demo/output"), metavar="DIR", help="default: %(default)s")
    parser.add_argument("--model", default="tctrack-lite", metavar="NAME|PATH", help="default: %(default)s")
    parser.add_argument("--weights", metavar="FILE", help="the model's weights, if not the shipped ones")
    parser.add_argument(
        "--seed", type=argument(Whole), default=2, help="another seed, another flight (default: %(default)s)"
    )
    parser.add_argument(
        "--frames", type=argument(Length), default=150, metavar="N", help="length of the clip (default: %(default)s)"
    )
    parser.add_argument("--size", default="1280x720", metavar="WxH", help="of the frames (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Draw, track, measure."""
    import numpy as np
    from tqdm import tqdm

    from tctrack.benchmark.metrics import score
    from tctrack.errors import ConfigError
    from tctrack.files import check_outputs, write_text
    from tctrack.video import Overlay, Session, VideoSink, contact_sheet, draw_box, write_picture
    from trackers import tracker_factory

    try:
        width, height = map(int, args.size.split("x"))
    except ValueError:
        raise ConfigError(f"--size '{args.size}' must be WIDTHxHEIGHT, such as 1280x720") from None
    if not (64 <= width <= MOST and 64 <= height <= MOST):
        raise ConfigError(f"--size {args.size} must lie between 64x64 and {MOST}x{MOST} pixels")
    fps = 30.0
    scene = draw_scene(args.seed, args.frames, (width, height))
    files = ("clip.mp4", "tracked.mp4", "contact_sheet.png", "truth.txt")
    check_outputs({f"--out {args.out / name}": args.out / name for name in files}, (args.model, args.weights))
    session = Session(tracker_factory(args.model, **({"weights": args.weights} if args.weights else {})))
    overlay = Overlay(Path(args.model).stem)
    shown = set(np.linspace(0, args.frames - 1, PICTURES).round().astype(int).tolist())
    truth, found, pictures, seconds = [], [], [], 0.0

    with (
        VideoSink(args.out / "clip.mp4", (width, height), fps) as clip,
        VideoSink(args.out / "tracked.mp4", (width, height), fps) as tracked,
    ):
        for t in tqdm(range(args.frames), unit="frame", disable=None):
            frame, box = scene.render(t, (width, height)), scene.box(t)
            if t == 0:
                session.add(frame, box)
            (record,) = session.step(frame, t, t / fps)
            seconds += record.seconds if t else 0
            truth.append(box)
            found.append(record.box)
            clip.write(frame)
            picture = overlay.draw(frame, [record], t / seconds if t else None)
            tracked.write(picture)
            if t in shown:
                draw_box(picture, box, colour=(255, 255, 255))
                pictures.append(_close_up(picture, box))

    write_text(args.out / "truth.txt", "".join(",".join(f"{value:.3f}" for value in box) + "\n" for box in truth))
    write_picture(args.out / "contact_sheet.png", contact_sheet(pictures, COLUMNS))
    scores = score(np.array(truth), np.array(found))
    print(
        f"mean IoU {scores.overlaps.mean():.3f}, success AUC {scores.success_auc:.3f}, "
        f"{(args.frames - 1) / seconds:.1f} FPS ({args.model} on {width}x{height}, {args.frames} frames)\n"
        f"wrote {args.out}: {', '.join(files)}"
    )
    return 0


def draw_scene(seed: int, frames: int, size: tuple[int, int]) -> Scene:
    """Return a flight whose target fits frames of ``size`` (width, height)."""
    import numpy as np

    from tctrack.scenes.synthetic import Assets, SceneConfig, make_scene

    height = size[1]
    config = SceneConfig(
        target_size=(0.06 * height, 0.09 * height), speed=0.08, shake=0.02, zoom=0.004, roll=0.002,
        distractors=(3, 5), lookalike=0.3, occluder=0.0, camouflage=0.0, light=0.004,
    )  # fmt: skip
    assets = Assets.procedural(seed, grounds=1, sprites=12)
    return make_scene(np.random.default_rng(seed), assets, frames, config, size)


def _close_up(picture: Frame, box: Box) -> Frame:
    """Return the half-sized window of a picture that has the box at its middle, as far as the picture reaches."""
    height, width = picture.shape[0] // 2, picture.shape[1] // 2
    left = int(min(max(box.x + box.w / 2 - width / 2, 0), width))
    top = int(min(max(box.y + box.h / 2 - height / 2, 0), height))
    return picture[top : top + height, left : left + width]
