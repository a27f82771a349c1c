"""Speed of the tracker's parts beside what they replace; ``make bench`` prints a table a group, with ratios.

Whole frames, stages and engines are measured by ``tctrack profile``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tctrack.cli import keep_freed_memory
from tctrack.engines.torch import TorchEngine
from tctrack.geometry.camera_motion import GroundView, follow_camera, thumbnail
from tctrack.geometry.crops import crop_square, crop_subpixel, mean_colour
from tctrack.models.build import build_model
from tctrack.ops.fold import fold_batch_norms
from tctrack.ops.online_tadaconv import WindowTAdaConv2d
from tctrack.scenes.painter import ground

CENTRE, SIDE, OUT = (40.0, 40.0), 200, 256


@pytest.fixture(autouse=True)
def _without_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.mark.benchmark(group="crop at the border of 1080p")
@pytest.mark.parametrize("way", ["padded frame", "padded crop", "sub-pixel crop"])
def test_crop(benchmark: Any, way: str) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (1080, 1920, 3), np.uint8)
    fill = mean_colour(frame)

    def padded_frame() -> object:
        whole = cv2.copyMakeBorder(frame, SIDE, SIDE, SIDE, SIDE, cv2.BORDER_CONSTANT, value=fill.tolist())
        left = top = 40 - SIDE // 2 + SIDE
        return cv2.resize(whole[top : top + SIDE, left : left + SIDE], (OUT, OUT))

    ways = {
        "padded frame": padded_frame,
        "padded crop": lambda: crop_square(frame, CENTRE, SIDE, OUT, fill),
        "sub-pixel crop": lambda: crop_subpixel(frame, CENTRE, SIDE, OUT, fill),
    }
    benchmark(ways[way])


@pytest.mark.benchmark(group="camera's motion, 720p")
@pytest.mark.parametrize("part", ["thumbnail", "motion"])
def test_camera_motion(benchmark: Any, part: str) -> None:
    scene = cv2.resize(ground(np.random.default_rng(0), 400), (1300, 740))
    before, after = thumbnail(scene[:720, :1280]), thumbnail(scene[4:724, 7:1287])
    _, view = follow_camera(GroundView(before), before, 1280)  # as in a stream, where corners are followed on
    parts = {
        "thumbnail": lambda: thumbnail(scene[:720, :1280]),
        "motion": lambda: follow_camera(view, after, 1280),
    }
    benchmark(parts[part])


@pytest.mark.benchmark(group="calibration of a clip")
@pytest.mark.parametrize("way", ["kernel copies", "scaled channels"])
def test_calibration(benchmark: Any, way: str) -> None:
    layer, clip = WindowTAdaConv2d(384, 384, 3).eval(), torch.randn(2, 4, 384, 13, 13)
    plain = layer.weight[0, 0]

    def kernel_copies() -> object:
        seen = layer.observe(clip.flatten(0, 1), None, clip.shape[1])[0]
        alpha = 1 + layer.temporalconv(seen).transpose(1, 2).flatten(0, 1)
        return F.conv2d(clip.reshape(1, -1, 13, 13), (plain * alpha.reshape(8, 1, -1, 1, 1)).flatten(0, 1), groups=8)

    benchmark(kernel_copies if way == "kernel copies" else lambda: layer(clip))


@pytest.mark.benchmark(group="step of tctrack-lite in torch")
@pytest.mark.parametrize("way", ["batch norms", "folded", "folded, memory kept"])
def test_step(benchmark: Any, way: str) -> None:
    network = build_model("tctrack-lite").eval()
    engine = TorchEngine(network if way == "batch norms" else fold_batch_norms(network))
    template, search = (np.full((1, side, side, 3), 90, np.uint8) for side in (128, 256))
    state = engine.start(template, search, np.full((1, 2), 64, np.float32))
    if way == "folded, memory kept":  # from here on to the end of the process, so it comes last
        keep_freed_memory()
    benchmark(lambda: engine.step(search, state))
