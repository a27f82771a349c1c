"""The TAdaConv paper's hypothesis test: which calibration of a 2-D network's kernels lets it see motion?

A small network over frames, whose features are averaged over time, learns generated motions of which unordered frames
say nothing. Only the calibration of its kernels differs from row to row. After TAdaConv (ICLR 2022), table 2.
"""

from __future__ import annotations

import io
import itertools
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tctrack.action.motions import LENGTH, MOTIONS, motion_clips
from tctrack.files import write_bytes, write_text
from tctrack.ops.tadaconv import RouteFunction, TAdaConv2d

CHANNELS = (16, 32, 32, 32)
log = logging.getLogger(__name__)

REPORT = """# Which calibration lets a 2-D network see motion?

Written by `python tools/hypothesis.py`, which repeats the hypothesis test of TAdaConv (ICLR 2022) on generated clips.

A clip shows a square on a ring of eight places, each place once, and two flashes half a clip apart. Its label, one of
{classes}, is direction × speed × order of the flashes. For every label the unordered set of frames has the same
distribution, so a network that ignores time stays at chance, {chance:.1f} %. The network is the same in all rows: four
convolutions on every frame, their mean over space and time, a linear classifier. Only the calibration of its kernels
differs. Each row was trained for {steps} steps of 32 fresh clips and tested on {test_clips} others.

{table}

![accuracy by calibration](hypothesis.png)

- *Learnable* calibration is a parameter. One for all frames can only rescale the kernels; one for each frame tells
  early frames from late ones, and so sees some of the order.
- *Dynamic* calibration is computed from descriptors of the frames, without temporal context: from the clip's mean
  descriptor, or from each frame's own. Both are functions of the unordered frames, and so is *global context* alone:
  here all three must stay at chance. On real videos, whose unordered frames say much, the paper sees them gain.
- *Local context* is a route function with temporal kernels of three frames; TAdaConv adds the clip's mean descriptor.

All rows took {minutes:.0f} CPU minutes on one core.
"""


class Learnable(nn.Module):
    """Calibration by parameters: one for all frames, or one for each frame."""

    def __init__(self, channels: int, frames: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, channels, frames, 1, 1))

    def forward(self, _: Tensor) -> Tensor:
        """Return the parameters; the clip does not matter."""
        return self.alpha


class WholeClip(RouteFunction):
    """Calibration from the clip's mean descriptor, the same for all frames."""

    def forward(self, clip: Tensor) -> Tensor:
        """Return ``alpha (B, C, 1, 1, 1)``."""
        return super().forward(clip.mean(2, keepdim=True))


def without_global(channels: int, kernel: int) -> RouteFunction:
    """Return a route function that ignores the clip's mean descriptor."""
    route = RouteFunction(channels, kernels=(kernel, kernel))
    for parameter in route.g.parameters():
        nn.init.zeros_(parameter).requires_grad_(False)
    return route


#: The rows of the table: name, and what makes a layer's calibration from its channels.
CALIBRATIONS: dict[str, Callable[[int], nn.Module] | None] = {
    "none": None,
    "learnable, same for all frames": lambda channels: Learnable(channels, 1),
    "learnable, one for each frame": lambda channels: Learnable(channels, LENGTH),
    "dynamic, same for all frames": lambda channels: WholeClip(channels, kernels=(1, 1)),
    "dynamic, from each frame": lambda channels: without_global(channels, 1),
    "global context": lambda channels: RouteFunction(channels, kernels=(1, 1)),
    "local context": lambda channels: without_global(channels, 3),
    "TAdaConv: local and global context": RouteFunction,
}


class FrameNet(nn.Module):
    """Four convolutions on every frame, their mean over space and time, and a linear classifier."""

    def __init__(self, calibration: Callable[[int], nn.Module] | None) -> None:
        super().__init__()
        self.stem = nn.Conv3d(3, CHANNELS[0], (1, 3, 3), (1, 2, 2), (0, 1, 1), bias=False)
        self.convs, self.routes, self.norms = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for inputs, outputs in itertools.pairwise(CHANNELS):
            self.convs.append(TAdaConv2d(inputs, outputs, 3, 2 if inputs != outputs else 1, 1, bias=False))
            self.routes.append(
                Learnable(inputs, 1).requires_grad_(False) if calibration is None else calibration(inputs)
            )
        self.norms.extend(nn.BatchNorm3d(channels) for channels in CHANNELS)
        self.head = nn.Linear(CHANNELS[-1], len(MOTIONS))

    def forward(self, clip: Tensor) -> Tensor:
        """Return the logits ``(B, classes)`` of clips ``(B, 3, T, H, W)``."""
        x = F.relu(self.norms[0](self.stem(clip)))
        for conv, route, norm in zip(self.convs, self.routes, list(self.norms)[1:], strict=True):
            x = F.relu(norm(conv(x, route(x))))
        logits: Tensor = self.head(x.mean((2, 3, 4)))
        return logits


def run_row(name: str, *, steps: int, batch: int = 32, seed: int = 0, test_clips: int = 2048) -> float:
    """Train one row of the table; return its accuracy on fresh clips."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network = FrameNet(CALIBRATIONS[name])
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for _ in range(steps):
        clips, labels = _tensors(batch, rng)
        optimizer.zero_grad()
        F.cross_entropy(network(clips), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    network.eval()
    fresh = np.random.default_rng(seed + 1_000_000)
    correct = 0
    with torch.no_grad():
        for _ in range(test_clips // batch):
            clips, labels = _tensors(batch, fresh)
            correct += int((network(clips).argmax(1) == labels).sum())
    return correct / (test_clips // batch * batch)


def write_report(
    folder: Path, *, steps: int = 300, seeds: Sequence[int] = (0, 1), test_clips: int = 2048
) -> dict[str, list[float]]:
    """Train every row with every seed, then write ``hypothesis.md`` and ``hypothesis.png``; return the accuracies.

    Raises:
        OutputError: the folder cannot be written.
    """
    torch.set_num_threads(1)  # the sums of one thread do not depend on the machine's cores
    began = time.process_time()
    accuracies: dict[str, list[float]] = {}
    for name in CALIBRATIONS:
        accuracies[name] = [run_row(name, steps=steps, seed=seed, test_clips=test_clips) for seed in seeds]
        log.info("%-36s %s", name, "  ".join(f"{100 * value:5.1f}" for value in accuracies[name]))
    minutes = (time.process_time() - began) / 60
    text = REPORT.format(
        classes=len(MOTIONS),
        chance=100 / len(MOTIONS),
        steps=steps,
        test_clips=test_clips,
        table=table(accuracies),
        minutes=minutes,
    )
    plot(accuracies, folder / "hypothesis.png")
    write_text(folder / "hypothesis.md", text)
    return accuracies


def table(accuracies: dict[str, list[float]]) -> str:
    """Return the Markdown table of accuracies (per row: one for each seed) in percent."""
    lines = ["| calibration of the kernels | accuracy (%) | by seed |", "|---|---|---|"]
    for name, values in accuracies.items():
        each = ", ".join(f"{100 * value:.1f}" for value in values)
        lines.append(f"| {name} | {100 * np.mean(values):.1f} | {each} |")
    return "\n".join(lines)


def plot(accuracies: dict[str, list[float]], path: Path) -> None:
    """Draw the accuracies as bars, with chance as a line; the file is replaced as a whole."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 3.2), layout="constrained")
    axes = figure.subplots()
    names, means = list(accuracies), [100 * float(np.mean(values)) for values in accuracies.values()]
    bars = axes.barh(names, means, color=["#2a6f97" if "context" in name else "#a9b4c0" for name in names])
    axes.bar_label(bars, fmt="%.1f", padding=6, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})
    chance = 100 / len(MOTIONS)
    axes.axvline(chance, color="#444444", linestyle="--", linewidth=1)
    axes.text(chance + 1, -0.75, "chance", fontsize=8, color="#444444")
    axes.set(xlim=(0, 108), xlabel="accuracy on fresh clips (%)")
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    picture = io.BytesIO()
    figure.savefig(picture, dpi=110, format="png")
    write_bytes(path, picture.getbuffer())


def _tensors(count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    clips, labels = motion_clips(count, rng)
    return torch.from_numpy(clips).permute(0, 4, 1, 2, 3).float().div_(127.5).sub_(1), torch.from_numpy(labels)
