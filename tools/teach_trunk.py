"""Teach trunk and neck of a smaller network what those of a teacher say about photos; writes weights to train from.

Every cell's embedding is to point where the teacher's points (1 - cosine). Blocks that student and teacher share start
from the teacher's, as do all other parts that fit; where the lower blocks are new, they learn in the first third of the
steps the teacher's features where the shared ones begin. The teacher sees each crop once; its answers stay in memory.

python tools/teach_trunk.py tctrack-nano --images CROPS PHOTOS --out runs/nano_trunk/tctrack-nano.safetensors
python tools/teach_trunk.py tctrack-lite --teacher runs/teacher_stage3/tctrack-lite.safetensors --images CROPS PHOTOS \\
    --out runs/lite_trunk/tctrack-lite.safetensors
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from tctrack import load_model
from tctrack.checkpoint.load import save_model
from tctrack.cli import keep_freed_memory
from tctrack.config import Count, LearningRate, Threads, Whole, argument
from tctrack.errors import DatasetError, TCTrackError
from tctrack.files import IMAGE_SUFFIXES, check_outputs
from tctrack.models.build import build_model
from tctrack.models.lite import TCTrackLite
from tctrack.ops.fold import fold_batch_norms
from tctrack.plumbing.schedule import schedule
from tctrack.types import Frame
from tctrack.video import read_image

#: Images that are narrower or lower are left out.
SMALLEST = 96
#: Learning rate of what the student has from the teacher, in parts of that of the rest.
INHERITED = 0.1


def find_images(root: Path) -> list[Path]:
    images = sorted(path for path in root.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not any(is_large(read_image(path)) for path in images):
        raise DatasetError(f"--images {root} holds no image of {SMALLEST} pixels or more")
    return images


def is_large(image: Frame | None) -> bool:
    return image is not None and min(image.shape[:2]) >= SMALLEST


def draw_crops(folders: list[list[Path]], count: int, side: int, rng: np.random.Generator) -> Iterator[Frame]:
    """Draw square BGR crops of 96 to 900 pixels, resized to ``side``, equally from the folders."""
    while count:
        images = folders[rng.integers(len(folders))]
        image = read_image(images[rng.integers(len(images))])
        if image is None or not is_large(image):
            continue
        height, width = image.shape[:2]
        for _ in range(min(count, 1 + min(height, width) // 400)):
            size = int(np.exp(rng.uniform(np.log(SMALLEST), np.log(min(height, width, 900)))))
            y, x = rng.integers(height - size + 1), rng.integers(width - size + 1)
            shrink = cv2.INTER_AREA if size > side else cv2.INTER_LINEAR
            crop = cv2.resize(image[y : y + size, x : x + size], (side, side), interpolation=shrink)
            yield np.asarray(crop[:, :: rng.choice([-1, 1])], np.uint8)
            count -= 1


class Heritage(NamedTuple):
    """What a student has from its teacher."""

    first: int | None
    """The student's first trunk block that is the teacher's, where those below it are new."""
    source: int
    """The teacher's first block at stride 16, which would be that block."""
    parts: list[nn.Module]
    """All parts of the student that start from the teacher's."""


def inherit(student: TCTrackLite, teacher: TCTrackLite) -> Heritage:
    """Give a student all parts of its teacher that fit; the trunk's blocks are counted from stride 16."""
    first, source = (next(n for n, b in enumerate(m.trunk.blocks) if b.crop_padding) for m in (student, teacher))
    own, given = student.state_dict(), teacher.state_dict()
    names = {key.split(".")[0] for key in own} - {"trunk"} | {"trunk.stem", "trunk.stem_bn"}
    origins = {name: name for name in names}
    for n in range(len(student.trunk.blocks)):
        origins[f"trunk.blocks.{n}"] = f"trunk.blocks.{n + source - first if n >= first else n}"
    taken = []
    for part, origin in origins.items():
        keys = [key for key in own if key == part or key.startswith(f"{part}.")]
        values = {key: fit(given.get(origin + key.removeprefix(part)), own[key]) for key in keys}
        if all(value is not None for value in values.values()):
            own.update(values)
            taken.append(part)
    student.load_state_dict(own)
    tqdm.write(f"inherited: {', '.join(sorted(taken)) or 'nothing'}")
    parts = [module for name, module in student.named_modules() if name in taken]
    cut = f"trunk.blocks.{first}" in taken and f"trunk.blocks.{first - 1}" not in taken
    return Heritage(first if cut else None, source, parts)


def fit(value: Tensor | None, like: Tensor) -> Tensor | None:
    """Return weights of the shape of others, or None; a map of positions ``(1, H W, C)`` is cut about its centre."""
    if value is None or value.shape == like.shape:
        return value
    if value.dim() != 3 or value.shape[2] != like.shape[2]:
        return None
    old, new = (round(tensor.shape[1] ** 0.5) for tensor in (value, like))
    places = (torch.arange(new) - (new - 1) / 2) * 2 / (old - 1)
    grid = torch.stack(torch.meshgrid(places, places, indexing="xy"), -1)[None]
    maps = F.grid_sample(value.reshape(1, old, old, -1).permute(0, 3, 1, 2), grid, align_corners=True)
    return maps.flatten(2).transpose(1, 2)


def embed(model: TCTrackLite, low: Tensor) -> Tensor:
    """Return the unit vectors ``(B, C, S/16, S/16)`` of what the trunk's lower blocks made of crops."""
    return F.normalize(model.neck(model.trunk.high(low)[0]), dim=1)


def disturb(crops: Tensor, generator: torch.Generator) -> Tensor:
    """Change the contrast and brightness of crops, which the teacher saw as they are."""
    gain, shift = torch.rand(2, len(crops), 1, 1, 1, generator=generator)
    return (crops.float() * (0.75 + 0.5 * gain) + 50 * (shift - 0.5)).clamp(0, 255)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("student", choices=("tctrack-lite", "tctrack-nano"))
    parser.add_argument("--teacher", default="tctrack-lite", metavar="FILE", help="its weights (default: as shipped)")
    parser.add_argument("--images", type=Path, nargs="+", required=True, help="folders of images, drawn from equally")
    parser.add_argument("--out", type=Path, required=True, help="the weights, a .safetensors file")
    parser.add_argument("--crops", type=argument(Count), default=24000)
    parser.add_argument("--epochs", type=argument(Count), default=4)
    parser.add_argument("--batch", type=argument(Count), default=32)
    parser.add_argument("--lr", type=argument(LearningRate), default=3e-3)
    parser.add_argument("--threads", type=argument(Threads), default=torch.get_num_threads())
    parser.add_argument("--seed", type=argument(Whole), default=0)
    try:
        run(parser.parse_args())
    except TCTrackError as error:
        parser.exit(2, f"error: {error}\n")


def run(args: argparse.Namespace) -> None:
    check_outputs({"--out": args.out}, args.images)
    folders = [find_images(root) for root in args.images]
    keep_freed_memory()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    teacher, student = load_model(args.teacher), build_model(args.student)
    assert isinstance(teacher, TCTrackLite)
    assert isinstance(student, TCTrackLite)
    heritage = inherit(student, teacher)

    drawn = draw_crops(folders, args.crops, student.config.search_size, np.random.default_rng(args.seed))
    crops = torch.from_numpy(np.stack(list(tqdm(drawn, "crops", args.crops))))
    lessons = teach(fold_batch_norms(teacher), crops, heritage, args.batch)
    learn(student, crops, lessons, heritage, args)
    save_model(args.out, args.student, student.eval())


class Lessons(NamedTuple):
    """What the teacher makes of ``N`` crops, in half precision."""

    low: Tensor | None
    """Features before the first block that the student shares, ``(N, C, H, W)``."""
    high: Tensor
    """Unit vectors ``(N, C, S/16, S/16)``."""


@torch.no_grad()
def teach(teacher: TCTrackLite, crops: Tensor, heritage: Heritage, batch: int) -> Lessons:
    teacher.trunk.split = heritage.source
    lows, highs = [], []
    for part in tqdm(crops.split(batch), "teacher"):
        low = teacher.trunk.low(part.permute(0, 3, 1, 2).float())
        highs.append(embed(teacher, low).half())
        if heritage.first is not None:
            lows.append(low.half())
    return Lessons(torch.cat(lows) if lows else None, torch.cat(highs))


def learn(student: TCTrackLite, crops: Tensor, lessons: Lessons, heritage: Heritage, args: argparse.Namespace) -> None:
    """Train trunk and neck, but for the calibrations, on crops ``(N, S, S, 3)``, uint8 BGR."""
    generator = torch.Generator().manual_seed(args.seed)
    trunk, fixed = student.trunk, set(student.trunk.calibrations())
    trunk.split = len(trunk.blocks) if heritage.first is None else heritage.first
    inherited = {weight for part in heritage.parts for weight in part.parameters()}
    learning = [weight for weight in (*trunk.parameters(), *student.neck.parameters()) if weight not in fixed]
    groups = [[w for w in learning if w not in inherited], [w for w in learning if w in inherited]]
    optimizer = torch.optim.AdamW([{"params": group} for group in groups], args.lr, weight_decay=0.02)
    student.train()
    for part in heritage.parts:
        part.eval()  # its batch norms keep their statistics

    orders = [torch.randperm(len(crops), generator=generator).split(args.batch) for _ in range(args.epochs)]
    bar = tqdm([chosen for order in orders for chosen in order], "student")
    spread = 1.0 if lessons.low is None else lessons.low[:256].float().var((0, 2, 3), keepdim=True)
    means = {"low": 1.0, "high": 1.0}
    for step, chosen in enumerate(bar, 1):
        for group, scale in zip(optimizer.param_groups, (1.0, INHERITED), strict=True):
            group["lr"] = args.lr * scale * schedule(step, len(bar), 200, end=0.01)
        losses = {}
        low = trunk.low(disturb(crops[chosen], generator).permute(0, 3, 1, 2))
        if lessons.low is not None:
            losses["low"] = ((low - lessons.low[chosen]).square() / spread).mean()
        if lessons.low is None or step > len(bar) // 3:
            losses["high"] = (1 - (embed(student, low) * lessons.high[chosen]).sum(1)).mean()
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(list(losses.values()))
        torch.nn.utils.clip_grad_norm_(learning, 5.0)
        optimizer.step()
        for name, loss in losses.items():
            means[name] += 0.02 * (loss.item() - means[name])
        bar.set_postfix({name: f"{means[name]:.4f}" for name in losses})


if __name__ == "__main__":
    main()
