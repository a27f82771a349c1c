"""Teach the trunk and neck of tctrack-nano what those of tctrack-lite say about photos; writes weights to train from.

Every cell's embedding is to point where the teacher's points (1 - cosine). The teacher sees each crop once; its answers
stay in memory beside the crops, a quarter of a megabyte for each.

python tools/teach_trunk.py --images CROPS PHOTOS --out runs/nano_trunk --crops 24000
"""

from __future__ import annotations

import argparse
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
from tctrack.config import Count, LearningRate, Threads, Whole, argument
from tctrack.errors import DatasetError, TCTrackError
from tctrack.files import IMAGE_SUFFIXES, check_outputs, make_folder
from tctrack.models.build import build_model
from tctrack.models.lite import TCTrackLite
from tctrack.ops.fold import fold_batch_norms
from tctrack.plumbing.schedule import schedule
from tctrack.types import Frame
from tctrack.video import read_image

#: Images that are narrower or lower are left out.
SMALLEST = 96


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
    weights = args.out / "tctrack-nano.safetensors"
    check_outputs({"--out": weights}, args.images)
    folders = [find_images(root) for root in args.images]
    make_folder(args.out)
    keep_freed_memory()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    teacher, student = fold_batch_norms(load_model("tctrack-lite")), build_model("tctrack-nano")
    assert isinstance(teacher, TCTrackLite)
    assert isinstance(student, TCTrackLite)

    drawn = draw_crops(folders, args.crops, student.config.search_size, np.random.default_rng(args.seed))
    crops = torch.from_numpy(np.stack(list(tqdm(drawn, "crops", args.crops))))
    with torch.inference_mode():
        parts = tqdm(crops.split(args.batch), "teacher")
        lessons = torch.cat([embed(teacher, part).half() for part in parts])
    learn(student, crops, lessons.clone(), args)
    save_model(weights, "tctrack-nano", student.eval())


def learn(student: TCTrackLite, crops: Tensor, lessons: Tensor, args: argparse.Namespace) -> None:
    """Train all but the calibrations on crops ``(N, S, S, 3)``, uint8 BGR, and their embeddings ``(N, C, H, W)``."""
    generator = torch.Generator().manual_seed(args.seed)
    fixed = set(student.trunk.calibrations())
    learning = [weight for weight in (*student.trunk.parameters(), *student.neck.parameters()) if weight not in fixed]
    optimizer = torch.optim.AdamW(learning, args.lr, weight_decay=0.02)
    orders = [torch.randperm(len(crops), generator=generator).split(args.batch) for _ in range(args.epochs)]
    bar = tqdm([chosen for order in orders for chosen in order], "student")
    student.train()
    mean = 1.0
    for step, chosen in enumerate(bar, 1):
        optimizer.param_groups[0]["lr"] = args.lr * schedule(step, len(bar), 200, end=0.01)
        features = embed(student, disturb(crops[chosen], generator))
        loss = (1 - (features * lessons[chosen]).sum(1)).mean()
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(learning, 5.0)
        optimizer.step()
        mean += 0.02 * (loss.item() - mean)
        bar.set_postfix(loss=f"{mean:.4f}")


if __name__ == "__main__":
    main()
