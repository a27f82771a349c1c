"""Teach the trunk and neck of tctrack-nano what those of tctrack-lite say about photos; writes weights to train from.

Every cell's embedding is to point where the teacher's points (1 - cosine). The teacher sees each crop once; its answers
stay in memory, half a megabyte for ten crops.

python tools/teach_trunk.py --images CROPS PHOTOS --out runs/nano_trunk --crops 24000 --epochs 8
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from tctrack import load_model
from tctrack.checkpoint.load import save_model
from tctrack.cli import keep_freed_memory
from tctrack.files import IMAGE_SUFFIXES, check_outputs
from tctrack.models.build import build_model
from tctrack.models.lite import TCTrackLite
from tctrack.ops.fold import fold_batch_norms
from tctrack.plumbing.schedule import schedule
from tctrack.types import Frame


def find_images(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)


def draw_crops(folders: list[list[Path]], count: int, side: int, rng: np.random.Generator) -> Iterator[Frame]:
    """Draw square crops, 96 to 900 pixels wide, as many from each folder; large images give several."""
    while count:
        images = folders[rng.integers(len(folders))]
        path = images[rng.integers(len(images))]
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if image is None or min(image.shape[:2]) < 96:
            continue
        height, width = image.shape[:2]
        for _ in range(min(count, 1 + min(height, width) // 400)):
            size = int(np.exp(rng.uniform(np.log(96), np.log(min(height, width, 900)))))
            y, x = rng.integers(height - size + 1), rng.integers(width - size + 1)
            shrink = cv2.INTER_AREA if size > side else cv2.INTER_LINEAR
            crop = cv2.resize(image[y : y + size, x : x + size], (side, side), interpolation=shrink)
            yield np.asarray(crop[:, :: rng.choice([-1, 1])], np.uint8)
            count -= 1


def embed(model: TCTrackLite, crops: Tensor) -> Tensor:
    """Return the unit vectors ``(B, C, H, W)`` of crops ``(B, S, S, 3)`` uint8, each the first of a stream."""
    features, _ = model.trunk.run(crops.permute(0, 3, 1, 2).float())
    return F.normalize(model.neck(features), dim=1)


def disturb(crops: Tensor, generator: torch.Generator) -> Tensor:
    """Change the contrast and brightness of crops, which the teacher saw as they are."""
    gain, shift = torch.rand(2, len(crops), 1, 1, 1, generator=generator)
    return (crops.float() * (0.75 + 0.5 * gain) + 50 * (shift - 0.5)).clamp(0, 255)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, nargs="+", required=True, help="folders of images, drawn from equally")
    parser.add_argument("--out", type=Path, required=True, help="folder of the weights, tctrack-nano.safetensors")
    parser.add_argument("--crops", type=int, default=24000)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    weights = options.out / "tctrack-nano.safetensors"
    check_outputs({"--out": weights}, [])
    keep_freed_memory()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    generator = torch.Generator().manual_seed(options.seed)

    teacher, student = fold_batch_norms(load_model("tctrack-lite")), build_model("tctrack-nano")
    assert isinstance(teacher, TCTrackLite)
    assert isinstance(student, TCTrackLite)
    side, cells, embedding = student.config.search_size, student.config.grid.size, student.config.embedding
    folders = [find_images(root) for root in options.images]
    crops = torch.empty(options.crops, side, side, 3, dtype=torch.uint8)
    lessons = torch.empty(options.crops, embedding, cells, cells, dtype=torch.float16)
    drawn = draw_crops(folders, options.crops, side, np.random.default_rng(options.seed))
    for first in tqdm(range(0, options.crops, options.batch), desc="teacher"):
        part = torch.from_numpy(np.stack(list(itertools.islice(drawn, options.batch))))
        crops[first : first + len(part)] = part
        with torch.inference_mode():
            lessons[first : first + len(part)] = embed(teacher, part).half()

    learns = [*student.trunk.parameters(), *student.neck.parameters()]
    fixed = set(student.trunk.calibrations())
    optimizer = torch.optim.AdamW([p for p in learns if p not in fixed], options.lr, weight_decay=0.02)
    steps = options.epochs * (options.crops // options.batch)
    student.train()
    mean, bar = 1.0, tqdm(range(steps), desc="student")
    for step in bar:
        if step % (options.crops // options.batch) == 0:
            order = torch.randperm(options.crops, generator=generator)
        chosen = order[(step * options.batch) % (len(order) // options.batch * options.batch) :][: options.batch]
        for group in optimizer.param_groups:
            group["lr"] = options.lr * schedule(step + 1, steps, 200, end=0.01)
        features = embed(student, disturb(crops[chosen], generator))
        loss = (1 - (features * lessons[chosen]).sum(1)).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(learns, 5.0)
        optimizer.step()
        mean += 0.02 * (loss.item() - mean)
        bar.set_postfix(loss=f"{mean:.4f}")
    options.out.mkdir(parents=True, exist_ok=True)
    save_model(weights, "tctrack-nano", student.eval(), {"made": time.strftime("%Y-%m-%d")})


if __name__ == "__main__":
    main()
