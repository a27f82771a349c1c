"""The public training sets, read in the folder layouts in which they are distributed.

Finding is cheap: it lists what there is. Each item found is read on its own, in whatever process cuts its crops.
"""

from __future__ import annotations

import csv
from array import array
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from tctrack.benchmark.catalogue import describe
from tctrack.benchmark.sequences import list_images, read_boxes, read_lines
from tctrack.errors import DatasetError, suggest
from tctrack.files import IMAGE_SUFFIXES, VIDEO_SUFFIXES, find_file, natural_key, read_json
from tctrack.training.packs import STILL
from tctrack.types import FloatArray


class Recording(NamedTuple):
    """Frames, and the targets followed in them.

    ``frames`` are a video file, or T image files, of which a run of equal ones is read once. ``tracks`` holds each
    target's x, y, w, h ``(T, 4)`` in pixels, or in parts of the frame's width and height where ``relative``; NaN where
    it is absent.
    """

    frames: Path | tuple[Path, ...]
    tracks: dict[str, FloatArray]
    relative: bool = False


class Item(NamedTuple):
    """A recording of a training set, not read yet; ``read`` raises DatasetError where its annotation is malformed."""

    name: str
    read: Callable[[], Recording]


class TrainingSet(NamedTuple):
    """How a training set lies on disk, and what its licence allows."""

    find: Callable[[Path], list[Item]]
    layout: str
    licence: str


def find_items(kind: str, root: Path) -> list[Item]:
    """List the recordings of a training set in natural order of their names.

    Args:
        kind: one of :data:`TRAINING_SETS`.
        root: its folder, in the official layout.

    Raises:
        DatasetError: the kind is unknown, or the folder is not laid out like it.
    """
    if kind not in TRAINING_SETS:
        raise DatasetError(f"unknown kind of training set '{kind}'{suggest(kind, TRAINING_SETS)}")
    try:
        items = TRAINING_SETS[kind].find(root)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"the annotation of {kind} under '{root}' is malformed: {error!r}") from None
    if not items:
        raise DatasetError(f"no {kind} under '{root}'; expected there {TRAINING_SETS[kind].layout}")
    unique = {item.name: item for item in items}
    return sorted(unique.values(), key=lambda item: (natural_key(item.name), item.name))


def _find_vid(root: Path) -> list[Item]:
    base = root / "Annotations/VID"
    folders = (path for pattern in ("train/*/*", "val/*") for path in base.glob(pattern) if path.is_dir())
    names = (folder.relative_to(base).as_posix() for folder in folders)
    return [Item(name, partial(_read_vid, root, name)) for name in names]


def _read_vid(root: Path, name: str) -> Recording:
    files = sorted((root / "Annotations/VID" / name).glob("*.xml"))
    tracks: dict[str, FloatArray] = {}
    for index, file in enumerate(files):
        try:
            for target in ElementTree.parse(file).iter("object"):
                sides = (target.findtext(f"bndbox/{side}", "") for side in ("xmin", "ymin", "xmax", "ymax"))
                left, top, right, bottom = map(float, sides)
                boxes = tracks.setdefault(f"{name}/{target.findtext('trackid')}", np.full((len(files), 4), np.nan))
                boxes[index] = left, top, right - left, bottom - top
        except (OSError, ElementTree.ParseError, ValueError) as error:
            raise DatasetError(f"{file} is not an annotation of ImageNet VID: {error}") from None
    return Recording(tuple(root / "Data/VID" / name / f"{file.stem}.JPEG" for file in files), tracks)


def _find_got10k(root: Path) -> list[Item]:
    base = root / "train" if (root / "train").is_dir() else root
    folders = [path.parent for path in base.glob("GOT-10k_*/groundtruth.txt")]
    return [Item(folder.name, partial(_read_got10k, folder)) for folder in folders]


def _read_got10k(folder: Path) -> Recording:
    boxes = read_boxes(folder / "groundtruth.txt")
    boxes[_read_flags(folder / "absence.label", len(boxes))] = np.nan
    return Recording(tuple(folder / f"{number:08d}.jpg" for number in range(1, len(boxes) + 1)), {folder.name: boxes})


def _find_lasot(root: Path) -> list[Item]:
    held_out = describe("LaSOT").sequences
    folders = [path.parent for pattern in ("*", "*/*") for path in root.glob(f"{pattern}/full_occlusion.txt")]
    return [Item(folder.name, partial(_read_lasot, folder)) for folder in folders if folder.name not in held_out]


def _read_lasot(folder: Path) -> Recording:
    boxes = read_boxes(folder / "groundtruth.txt")
    for flags in ("full_occlusion.txt", "out_of_view.txt"):
        boxes[_read_flags(folder / flags, len(boxes))] = np.nan
    images = tuple(folder / "img" / f"{number:08d}.jpg" for number in range(1, len(boxes) + 1))
    return Recording(images, {folder.name: boxes})


def _read_flags(path: Path, count: int) -> NDArray[np.bool_]:
    """Read one 0 or 1 a frame, on lines or separated by commas."""
    flags = np.array(",".join(read_lines(path)).split(","))
    if len(flags) != count or not np.isin(flags, ("0", "1")).all():
        raise DatasetError(f"{path} must hold 0 or 1 for each of {count} frames")
    return np.asarray(flags == "1")


def _find_trackingnet(root: Path) -> list[Item]:
    files = root.glob("TRAIN_*/anno/*.txt")
    return [Item(f"{file.parts[-3]}/{file.stem}", partial(_read_trackingnet, file)) for file in files]


def _read_trackingnet(file: Path) -> Recording:
    boxes, chunk = read_boxes(file), file.parent.parent
    images = tuple(chunk / "frames" / file.stem / f"{number}.jpg" for number in range(len(boxes)))
    return Recording(images, {f"{chunk.name}/{file.stem}": boxes})


def _find_coco(root: Path) -> list[Item]:
    items = []
    for file in root.glob("annotations/instances_*.json"):
        split = file.stem.removeprefix("instances_")
        folder = next((path for path in (root / split, root / "images" / split) if path.is_dir()), None)
        if folder is None:
            continue
        content = read_json(file)
        boxes: dict[int, array[float]] = {}
        for instance in content["annotations"]:
            if not instance.get("iscrowd"):
                boxes.setdefault(instance["image_id"], array("d")).extend(instance["bbox"])
        for image in content["images"]:
            if image["id"] in boxes:
                name = f"{STILL}{split}/{Path(image['file_name']).with_suffix('')}"
                found = np.array(boxes[image["id"]]).reshape(-1, 4)
                items.append(Item(name, partial(_still, name, folder / image["file_name"], found)))
    return items


def _still(name: str, image: Path, boxes: FloatArray) -> Recording:
    return Recording((image,) * len(boxes), {name: boxes})


def _find_youtubebb(root: Path) -> list[Item]:
    items = []
    for file in root.glob("yt_bb_detection_*.csv"):
        segments: dict[tuple[str, ...], array[float]] = {}
        with file.open(newline="", encoding="utf-8") as lines:
            for video, stamp, label, _, target, presence, *sides in csv.reader(lines):
                if presence == "present":
                    left, right, top, bottom = map(float, sides)
                    rows = segments.setdefault((label, video, target), array("d"))
                    rows.extend((int(stamp), left, top, right - left, bottom - top))
        frames = root / file.stem
        for segment, rows in segments.items() if frames.is_dir() else ():
            name = "/".join((file.stem, *segment))
            items.append(Item(name, partial(_read_youtubebb, frames, name, np.array(rows).reshape(-1, 5))))
    return items


def _read_youtubebb(frames: Path, name: str, rows: FloatArray) -> Recording:
    """Read what frames there are: videos vanish from YouTube."""
    _, label, video, target = name.split("/")
    images = [frames / label / f"{video}_{stamp:.0f}_{label}_{target}.jpg" for stamp in rows[:, 0]]
    there = [index for index in np.argsort(rows[:, 0], kind="stable") if images[index].is_file()]
    return Recording(tuple(images[index] for index in there), {name: rows[there, 1:]}, relative=True)


def _find_folder(root: Path) -> list[Item]:
    items = []
    for file in (*root.glob("*.txt"), *root.glob("*/groundtruth.txt")):
        base = root / file.stem if file.parent == root else file.parent
        frames = next((place for place in (base / "img", base) if place.exists()), find_file(base, VIDEO_SUFFIXES))
        if frames is not None:
            name = f"track_{base.name}" if base.name.startswith(STILL) else base.name
            items.append(Item(name, partial(_read_folder, name, frames, file)))
    return items


def _read_folder(name: str, frames: Path, file: Path) -> Recording:
    boxes = read_boxes(file)
    images = list_images(frames) if frames.is_dir() else frames
    if isinstance(images, tuple) and len(images) != len(boxes):
        raise DatasetError(f"{frames} has {len(images)} images, but {file} has {len(boxes)} boxes")
    return Recording(images, {name: boxes})


def _find_yolo(root: Path) -> list[Item]:
    items = []
    for labels in (root / "labels", root / "polygons"):
        for file in labels.rglob("*.txt"):
            stem = file.relative_to(labels).with_suffix("")
            image = find_file(root / "images" / stem, IMAGE_SUFFIXES)
            if image is not None:
                name = STILL + stem.as_posix()
                items.append(Item(name, partial(_read_yolo, name, image, file)))
    return items


def _read_yolo(name: str, image: Path, file: Path) -> Recording:
    boxes = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            values = np.array(line.split()[1:], np.float64)
            if len(values) == 4:
                boxes.append((*(values[:2] - values[2:] / 2), *values[2:]))
            else:
                points = values.reshape(-1, 2)
                boxes.append((*points.min(0), *np.ptp(points, 0)))
        except ValueError:
            raise DatasetError(f"{file}:{number}: expected a class and a box or polygon in 0–1") from None
    return _still(name, image, np.array(boxes).reshape(-1, 4))._replace(relative=True)


def _find_tracks(root: Path) -> list[Item]:
    videos: dict[str, dict[str, dict[str, list[float]]]] = {}
    for name, rows in _read_index(root / "tracks.json"):
        boxes = {image: [float(side) for side in (x, y, w, h)] for image, x, y, w, h in rows}
        videos.setdefault(name.rpartition("/")[0] or name, {})[name] = boxes
    items = [Item(video, partial(_join_tracks, root, tracks)) for video, tracks in videos.items()]
    for image, rows in _read_index(root / "stills.json"):
        found = np.array([(x, y, w, h) for _, x, y, w, h in rows], np.float64).reshape(-1, 4)
        name = STILL + str(Path(image).with_suffix(""))
        items.append(Item(name, partial(_still, name, root / image, found)))
    return items


def _read_index(path: Path) -> Iterable[tuple[str, list[list[Any]]]]:
    content: dict[str, Any] = read_json(path) if path.is_file() else {}
    return content.items()


def _join_tracks(root: Path, tracks: dict[str, dict[str, list[float]]]) -> Recording:
    """Join the tracks of a video, which name the same images."""
    images = sorted({image for boxes in tracks.values() for image in boxes}, key=natural_key)
    absent = [np.nan] * 4
    joined = {name: np.array([boxes.get(image, absent) for image in images]) for name, boxes in tracks.items()}
    return Recording(tuple(root / image for image in images), joined)


#: What :func:`find_items` reads. Layouts and terms are those of the sets' own pages.
TRAINING_SETS = {
    "vid": TrainingSet(
        _find_vid,
        "Annotations/VID/train/*/SNIPPET/*.xml and Data/VID/train/*/SNIPPET/*.JPEG (the folder ILSVRC2015)",
        "ImageNet: non-commercial research and education; https://image-net.org/download",
    ),
    "got10k": TrainingSet(
        _find_got10k,
        "train/GOT-10k_Train_*/ with 00000001.jpg …, groundtruth.txt and absence.label",
        "GOT-10k: CC BY-NC-SA 4.0; http://got-10k.aitestunion.com",
    ),
    "lasot": TrainingSet(
        _find_lasot,
        "CLASS/CLASS-N/ with img/00000001.jpg …, groundtruth.txt, full_occlusion.txt and out_of_view.txt",
        "LaSOT: terms at http://vision.cs.stonybrook.edu/~lasot",
    ),
    "trackingnet": TrainingSet(
        _find_trackingnet,
        "TRAIN_N/anno/VIDEO.txt and TRAIN_N/frames/VIDEO/0.jpg …",
        "TrackingNet: terms at https://tracking-net.org",
    ),
    "coco": TrainingSet(
        _find_coco,
        "annotations/instances_SPLIT.json and SPLIT/ or images/SPLIT/ with the images",
        "COCO: annotations CC BY 4.0, images under their Flickr terms; https://cocodataset.org/#termsofuse",
    ),
    "youtubebb": TrainingSet(
        _find_youtubebb,
        "yt_bb_detection_SPLIT.csv and yt_bb_detection_SPLIT/CLASS/YOUTUBEID_MILLISECONDS_CLASS_OBJECT.jpg",
        "YouTube-BoundingBoxes: terms at https://research.google.com/youtube-bb",
    ),
    "folder": TrainingSet(
        _find_folder,
        "NAME.mp4 or NAME/ with images, and x,y,w,h a frame in NAME.txt or NAME/groundtruth.txt",
        "not stated",
    ),
    "tracks": TrainingSet(
        _find_tracks,
        'tracks.json {"VIDEO/ID": [[IMAGE, x, y, w, h], …]} or stills.json {IMAGE: [[LABEL, x, y, w, h], …]}, or both',
        "not stated",
    ),
    "yolo": TrainingSet(
        _find_yolo,
        "images/NAME.jpg and labels/NAME.txt or polygons/NAME.txt, lines of a class and a box or polygon in 0–1",
        "not stated",
    ),
}
