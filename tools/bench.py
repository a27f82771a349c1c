"""Time the tracker's parts; every pair is measured in this one run, alternating, and reported as a ratio.

python tools/bench.py [--repeat 30] [--threads 1]
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time
from collections.abc import Callable

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from tctrack.cli import keep_freed_memory
from tctrack.geometry.crops import crop_square, crop_subpixel, mean_colour
from tctrack.models.build import build_model
from tctrack.ops.fold import fold_batch_norms
from tctrack.ops.online_tadaconv import WindowTAdaConv2d
from tctrack.scenes.painter import ground
from trackers.siamese import SiameseTracker

Action = Callable[[], object]


def compare(title: str, before: tuple[str, Action], after: tuple[str, Action], repeat: int) -> None:
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeat + 2):
        for record, (_, action) in zip(times, (before, after), strict=True):
            began = time.perf_counter()
            action()
            record.append(time.perf_counter() - began)
    slow, fast = (1e3 * statistics.median(record[2:]) for record in times)
    print(f"{title}: {before[0]} {slow:.2f} ms, {after[0]} {fast:.2f} ms, {slow / fast:.2f}x")


def crops(repeat: int) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (1080, 1920, 3), np.uint8)
    fill, centre, side = mean_colour(frame), (40.0, 40.0), 200

    def padded() -> object:
        whole = cv2.copyMakeBorder(frame, side, side, side, side, cv2.BORDER_CONSTANT, value=fill.tolist())
        left = top = 40 - side // 2 + side
        return cv2.resize(whole[top : top + side, left : left + side], (256, 256))

    compare(
        "crop at the border of 1080p", ("padded frame", padded),
        ("padded crop", lambda: crop_square(frame, centre, side, 256, fill)), repeat,
    )  # fmt: skip
    compare(
        "crop at the border of 1080p", ("padded frame", padded),
        ("sub-pixel crop", lambda: crop_subpixel(frame, centre, side, 256, fill)), repeat,
    )  # fmt: skip


@torch.inference_mode()
def calibration(repeat: int) -> None:
    layer, clip = WindowTAdaConv2d(384, 384, 3).eval(), torch.randn(2, 4, 384, 13, 13)
    plain = layer.weight[0, 0]

    def copied() -> object:
        alpha = 1 + layer.temporalconv(layer.observe(clip.flatten(0, 1), None, clip.shape[1])[0]).transpose(
            1, 2
        ).flatten(0, 1)
        kernels = (plain * alpha.reshape(8, 1, -1, 1, 1)).flatten(0, 1)
        return F.conv2d(clip.reshape(1, -1, 13, 13), kernels, groups=8)

    compare("calibration", ("kernel copies", copied), ("scaled channels", lambda: layer(clip)), repeat)


@torch.inference_mode()
def tracker(repeat: int) -> None:
    network = build_model("tctrack-lite").eval()
    tracker = SiameseTracker(fold_batch_norms(network))
    still = SiameseTracker(tracker.model, dataclasses.replace(tracker.tracking, motion=0))
    frame = cv2.resize(ground(np.random.default_rng(0), 400), (1280, 720))
    box = (600.0, 300.0, 50.0, 60.0)
    state, still_state = tracker.start(frame, box), still.start(frame, box)
    search = torch.rand(1, 3, 256, 256) * 255
    compare(
        "tctrack-lite, 720p", ("with motion", lambda: tracker.step(frame, state)),
        ("without", lambda: still.step(frame, still_state)), repeat,
    )  # fmt: skip
    compare(
        "tctrack-lite, 720p", ("whole update", lambda: tracker.step(frame, state)),
        ("network alone", lambda: tracker.model.step(search, state.temporal)), repeat,
    )  # fmt: skip
    compare(
        "tctrack-lite, network", ("batch norms", lambda: network.step(search, state.temporal)),
        ("folded", lambda: tracker.model.step(search, state.temporal)), repeat,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=30)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"torch {torch.__version__}, {args.threads} threads, medians of {args.repeat}")
    crops(args.repeat)
    calibration(args.repeat)
    print("glibc as it is")
    tracker(args.repeat)
    keep_freed_memory()
    print("glibc keeps freed memory")
    tracker(args.repeat)


if __name__ == "__main__":
    main()
