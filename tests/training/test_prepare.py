"""Training sets in their official layouts, generated small, and the packs cut from them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from torch.utils.data import DataLoader

from tctrack.cli import main
from tctrack.errors import DatasetError
from tctrack.geometry.boxes import context_side
from tctrack.training.clips import ClipConfig, ClipDataset, PackTracks
from tctrack.training.packs import CONTEXT, open_pack
from tctrack.training.sets import TRAINING_SETS, find_items
from tctrack.types import Frame
from tests.clips import write_video

WIDTH, HEIGHT = 160, 120
NAN = [np.nan] * 4
#: What a layout's builder wrote: boxes by track.
Truth = dict[str, list[list[float]]]


def box_at(index: int) -> list[float]:
    return [30.0 + 4 * index, 20.0 + 2 * index, 40.0, 24.0]


def frame_at(index: int) -> Frame:
    """Noise with a white rectangle at :func:`box_at`."""
    frame = np.random.default_rng(index).integers(0, 120, (HEIGHT, WIDTH, 3), np.uint8)
    x, y, w, h = map(int, box_at(index))
    frame[y : y + h, x : x + w] = 255
    return frame


def write(path: Path, content: str | int) -> None:
    """Write a text, or the image of a number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
        path.write_text(content)
    else:
        cv2.imwrite(str(path), frame_at(content), [cv2.IMWRITE_JPEG_QUALITY, 98])


def lines(boxes: list[list[float]]) -> str:
    return "".join(",".join(map(str, box)) + "\n" for box in boxes)


def vid(root: Path) -> Truth:
    snippet = "train/ILSVRC2015_VID_train_0000/ILSVRC2015_train_00000000"
    for index in range(2):
        x, y, w, h = box_at(index)
        sides = f"<xmax>{x + w}</xmax><xmin>{x}</xmin><ymax>{y + h}</ymax><ymin>{y}</ymin>"
        target = f"<object><trackid>0</trackid><bndbox>{sides}</bndbox></object>"
        late = target.replace("<trackid>0", "<trackid>1") if index else ""
        write(root / f"Annotations/VID/{snippet}/{index:06d}.xml", f"<annotation>{target}{late}</annotation>")
        write(root / f"Data/VID/{snippet}/{index:06d}.JPEG", index)
    return {f"{snippet}/0": [box_at(0), box_at(1)], f"{snippet}/1": [NAN, box_at(1)]}


def got10k(root: Path) -> Truth:
    folder = root / "train/GOT-10k_Train_000001"
    for index in range(3):
        write(folder / f"{index + 1:08d}.jpg", index)
    write(folder / "groundtruth.txt", lines([box_at(index) for index in range(3)]))
    write(folder / "absence.label", "0\n1\n0\n")
    return {folder.name: [box_at(0), NAN, box_at(2)]}


def lasot(root: Path) -> Truth:
    for name in ("airplane-1", "airplane-2"):  # the first belongs to the testing split
        folder = root / "airplane" / name
        for index in range(3):
            write(folder / f"img/{index + 1:08d}.jpg", index)
        write(folder / "groundtruth.txt", lines([box_at(index) for index in range(3)]))
        write(folder / "full_occlusion.txt", "0,0,1")
        write(folder / "out_of_view.txt", "0,1,0")
    return {"airplane-2": [box_at(0), NAN, NAN]}


def trackingnet(root: Path) -> Truth:
    for index in range(11):  # frame 10 comes after frame 9
        write(root / f"TRAIN_3/frames/aB_-c/{index}.jpg", index)
    write(root / "TRAIN_3/anno/aB_-c.txt", lines([box_at(index) for index in range(11)]))
    return {"TRAIN_3/aB_-c": [box_at(index) for index in range(11)]}


def coco(root: Path) -> Truth:
    write(root / "val2017/000000000009.jpg", 0)
    instances = [
        {"image_id": 9, "iscrowd": 0, "bbox": box_at(0)},
        {"image_id": 9, "iscrowd": 1, "bbox": [0, 0, 90, 90]},
        {"image_id": 9, "iscrowd": 0, "bbox": [50, 40, 30, 30]},
    ]
    images = [{"id": 9, "file_name": "000000000009.jpg"}, {"id": 10, "file_name": "000000000010.jpg"}]
    write(root / "annotations/instances_val2017.json", json.dumps({"images": images, "annotations": instances}))
    write(root / "annotations/instances_train2017.json", "not downloaded whole, like its images")
    return {"img_val2017/000000000009": [box_at(0), [50, 40, 30, 30]]}


def youtubebb(root: Path) -> Truth:
    rows = []
    for index, stamp in enumerate((2000, 1000)):
        write(root / f"yt_bb_detection_train/0/a_-b_{stamp}_0_1.jpg", index)
        x, y, w, h = box_at(index)
        sides = f"{x / WIDTH},{(x + w) / WIDTH},{y / HEIGHT},{(y + h) / HEIGHT}"
        rows.append(f"a_-b,{stamp},0,person,1,present,{sides}\n")
    rows.append(rows[0].replace("2000", "3000"))  # its frame is gone
    rows.append("a_-b,4000,0,person,1,absent,-1.0,-1.0,-1.0,-1.0\n")
    write(root / "yt_bb_detection_train.csv", "".join(rows))
    return {"yt_bb_detection_train/0/a_-b/1": [box_at(1), box_at(0)]}


def folder(root: Path) -> Truth:
    write(root / "walk.txt", lines([NAN, box_at(1)]))
    write(root / "img_run/groundtruth.txt", lines([box_at(0), box_at(1)]))
    for name in ("walk", "img_run"):
        for index in range(2):
            write(root / f"{name}/{index}.png", index)
    # The prefix of single images is no name for a track.
    return {"walk": [NAN, box_at(1)], "track_img_run": [box_at(0), box_at(1)]}


def tracks(root: Path) -> Truth:
    for index in (2, 10):
        write(root / f"street/{index}.jpg", index)
    write(root / "crowd.jpg", 0)
    both = {"street/a": [["street/10.jpg", *box_at(10)], ["street/2.jpg", *box_at(2)]]}
    both["street/b"] = [["street/10.jpg", 50, 40, 30, 30]]
    write(root / "tracks.json", json.dumps(both))
    write(root / "stills.json", json.dumps({"crowd.jpg": [["person", *box_at(0)], ["person", 50, 40, 30, 30]]}))
    return {
        "street/a": [box_at(2), box_at(10)],
        "street/b": [NAN, [50, 40, 30, 30]],
        "img_crowd": [box_at(0), [50, 40, 30, 30]],
    }


def yolo(root: Path) -> Truth:
    x, y, w, h = box_at(0)
    box = f"0 {(x + w / 2) / WIDTH} {(y + h / 2) / HEIGHT} {w / WIDTH} {h / HEIGHT}"
    corners = [(50, 40), (80, 50), (60, 70)]
    polygon = "7 " + " ".join(f"{left / WIDTH} {top / HEIGHT}" for left, top in corners)
    write(root / "images/val/a.jpg", 0)
    write(root / "labels/val/a.txt", f"{box}\n{polygon}\n")
    return {"img_val/a": [box_at(0), [50, 40, 30, 30]]}


LAYOUTS: dict[str, Callable[[Path], Truth]] = {
    function.__name__: function for function in (vid, got10k, lasot, trackingnet, coco, youtubebb, folder, tracks, yolo)
}


def test_every_kind_has_a_layout_here() -> None:
    assert LAYOUTS.keys() == TRAINING_SETS.keys()


@pytest.mark.parametrize("kind", LAYOUTS)
def test_a_reader_finds_frames_and_boxes(kind: str, tmp_path: Path) -> None:
    truth = LAYOUTS[kind](tmp_path)
    found: dict[str, Any] = {}
    for item in find_items(kind, tmp_path):
        frames, tracks, relative = item.read()
        for name, boxes in tracks.items():
            found[name] = boxes * ([WIDTH, HEIGHT, WIDTH, HEIGHT] if relative else 1)
            assert isinstance(frames, tuple)
            for path, box in zip(frames, found[name], strict=True):
                x, y, w, h = np.nan_to_num(box).round().astype(int)
                patch = cv2.imread(str(path))[y : y + h, x : x + w]
                assert (w, h) != (40, 24) or patch.min() > 220  # the frame is the one that the box is of
    assert found.keys() == truth.keys()
    for name, boxes in truth.items():
        np.testing.assert_allclose(found[name], boxes, atol=1e-9)


@pytest.mark.parametrize("kind", LAYOUTS)
def test_another_layout_is_refused_with_the_one_expected(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "root/notes.md", "nothing of a training set")
    for root in (tmp_path / "root", tmp_path / "nowhere"):
        assert main(["prepare", kind, str(root), "--out", str(tmp_path / "pack")]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert TRAINING_SETS[kind].layout in error
    assert not (tmp_path / "pack").exists()


@pytest.mark.parametrize(
    ("kind", "file", "content"),
    [
        ("vid", "Annotations/VID/val/a/000000.xml", "<annotation><object></annotation>"),
        ("coco", "annotations/instances_val2017.json", "[]"),
        ("youtubebb", "yt_bb_detection_train.csv", "a,b\n"),
        ("got10k", "train/GOT-10k_Train_000001/absence.label", "0\n1\n"),
        ("lasot", "airplane/airplane-2/out_of_view.txt", "0,x,0"),
        ("trackingnet", "TRAIN_3/anno/aB_-c.txt", "1,2,3\n"),
        ("folder", "walk.txt", "1,2,3,4\n"),
        ("tracks", "tracks.json", '{"street/a": [["street/2.jpg", 1]]}'),
        ("tracks", "stills.json", "[]"),
        ("yolo", "labels/val/a.txt", "0 0.5 0.5 0.5\n"),
    ],
)
def test_a_malformed_annotation_is_named(
    kind: str, file: str, content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    LAYOUTS[kind](tmp_path)
    write(tmp_path / file, content)
    assert main(["prepare", kind, str(tmp_path), "--out", str(tmp_path / "pack"), "--workers", "0"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("tctrack: error: ")
    assert kind in error or Path(file).name in error


def cut(root: Path, out: Path, *options: str, kind: str = "folder") -> dict[str, Any]:
    assert main(["prepare", kind, str(root), "--out", str(out), "--workers", "0", *options]) == 0
    manifest: dict[str, Any] = json.loads((out / "manifest.json").read_text())
    return manifest


@pytest.mark.parametrize("kind", LAYOUTS)
def test_the_target_lies_where_the_box_says(kind: str, tmp_path: Path) -> None:
    truth = LAYOUTS[kind](tmp_path / "set")
    manifest = cut(tmp_path / "set", tmp_path / "pack", "--size", "256", "--quality", "100", kind=kind)
    pack = open_pack(tmp_path / "pack")
    assert {name: len(boxes) for name, boxes in zip(pack.names, pack.boxes, strict=True)} == {
        name: int(np.isfinite(boxes).all(1).sum()) for name, boxes in truth.items()
    }
    assert (manifest["tracks"], manifest["skipped"]) == (len(truth), [])
    image, box = pack.read(0, 0), pack.boxes[0][0]
    scale = CONTEXT / context_side(40, 24)
    np.testing.assert_allclose(box, [128 - 20 * scale, 128 - 12 * scale, 40 * scale, 24 * scale], atol=1e-3)
    ys, xs = np.nonzero(image.min(-1) > 187)  # halfway between the white and the ground's mean
    bounds = [xs.min(), ys.min(), xs.max() + 1 - xs.min(), ys.max() + 1 - ys.min()]
    np.testing.assert_allclose(bounds, box, atol=1)
    assert image.shape == (256, 256, 3)


def test_what_lies_outside_the_frame_has_its_mean_colour(tmp_path: Path) -> None:
    write(tmp_path / "set/a/0.png", 0)
    write(tmp_path / "set/a.txt", lines([[-10, -10, 40, 40]]))
    cut(tmp_path / "set", tmp_path / "pack", "--quality", "100")
    image = open_pack(tmp_path / "pack").read(0, 0)
    np.testing.assert_allclose(image[:60, :60].mean((0, 1)), frame_at(0).mean((0, 1)), atol=1.5)


def test_tracks_are_thinned_and_small_or_invisible_targets_left_out(tmp_path: Path) -> None:
    boxes = [box_at(index) for index in range(20)]
    boxes[0] = [5, 5, 40, 4]
    boxes[4] = [WIDTH + 1, 5, 40, 24]
    for index in range(20):
        write(tmp_path / f"set/a/{index}.png", index)
    write(tmp_path / "set/a.txt", lines(boxes))

    def kept(name: str, *options: str) -> list[str]:
        cut(tmp_path / "set", tmp_path / name, *options)
        with tarfile.open(tmp_path / name / "shard-000000.tar") as tar:
            return [member[2:8] for member in tar.getnames() if member.endswith(".jpg")]

    assert kept("stride", "--stride", "4") == ["000008", "000012", "000016"]
    assert kept("few", "--max-frames", "3", "--smallest", "2") == ["000000", "000010", "000019"]


def test_videos_are_read_and_a_damaged_end_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_video(tmp_path / "walk.MP4", 6)
    write(tmp_path / "walk.txt", lines([[20 + 2 * index, 40 + index, 24, 24] for index in range(8)]))
    manifest = cut(tmp_path, tmp_path / "pack")
    assert manifest["frames"] == 6
    assert manifest["skipped"] == ["walk.MP4#6", "walk.MP4#7"]
    image = open_pack(tmp_path / "pack").read(0, 5)
    assert image[140:240, 140:240].std() > 2 * image[:60, :60].std()  # the checkered target is at the middle


def test_damaged_images_are_left_out_counted_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trackingnet(tmp_path / "set")
    frames = tmp_path / "set/TRAIN_3/frames/aB_-c"
    data = (frames / "2.jpg").read_bytes()
    (frames / "2.jpg").write_bytes(data[: len(data) // 2])  # OpenCV alone would take it
    (frames / "4.jpg").write_text("not an image")
    (frames / "5.jpg").write_bytes(b"")
    (frames / "7.jpg").unlink()
    manifest = cut(tmp_path / "set", tmp_path / "pack", kind="trackingnet")
    assert manifest["frames"] == 7
    assert manifest["skipped"] == [f"TRAIN_3/frames/aB_-c/{number}.jpg" for number in (2, 4, 5, 7)]
    assert "left out 4 damaged frames: TRAIN_3/frames/aB_-c/2.jpg, " in capsys.readouterr().out


def many(root: Path) -> Path:
    """Ten recordings, each of which fills a shard of 0.2 MB."""
    for number in range(10):
        for index in range(8):
            write(root / f"take{number}/{index}.jpg", index + number)
        write(root / f"take{number}.txt", lines([box_at(index + number) for index in range(8)]))
    return root


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    root, options = many(tmp_path / "set"), ["--shard-mb", "0.2"]
    cut(root, tmp_path / "whole", *options)
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "tctrack", "prepare", "folder", str(root), "--out", str(out), *options]
    process = subprocess.Popen([*command, "--workers", "2"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    while not (out / "shard-000001.json").exists():
        assert process.poll() is None
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)  # returns when the workers, which share its output, have ended too
    assert not (out / "manifest.json").exists()
    with pytest.raises(DatasetError, match="unfinished"):
        open_pack(out)
    before = {path: path.stat().st_mtime_ns for path in out.glob("shard-00000[01].*")}
    cut(root, out, *options, "--workers", "1")
    assert contents(out) == contents(tmp_path / "whole")
    assert len(before) == 4
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in before.items())

    shard = out / "shard-000003.tar"
    shard.write_bytes(shard.read_bytes()[:1000])
    with pytest.raises(DatasetError, match="shard-000003"):
        open_pack(out)
    cut(root, out, *options)
    assert contents(out) == contents(tmp_path / "whole")


def test_other_options_or_data_on_the_same_folder_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, out = tmp_path / "set", tmp_path / "pack"
    folder(root)
    cut(root, out)
    before = contents(out)
    arguments = ["prepare", "folder", str(root), "--out", str(out)]
    capsys.readouterr()
    assert main([*arguments, "--size", "511"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "size=384, not 511" in error
    write(root / "walk.txt", lines([box_at(0), box_at(1)]))
    (root / "walk.txt").rename(root / "other.txt")
    (root / "walk").rename(root / "other")
    assert main(arguments) == 2
    assert contents(out) == before


@pytest.mark.parametrize(
    "options",
    [["--size", "64"], ["--stride", "0"], ["--quality", "101"], ["--workers", "-1"], ["--shard-mb", "nan"]],
)
def test_options_out_of_range_are_refused(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder(tmp_path / "set")
    assert main(["prepare", "folder", str(tmp_path / "set"), "--out", str(tmp_path / "pack"), *options]) == 2
    assert options[0].lstrip("-").replace("-", "_") in capsys.readouterr().err.replace("-", "_")


def test_a_folder_that_cannot_be_written_or_a_set_without_targets_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder(tmp_path / "set")
    arguments = ["prepare", "folder", str(tmp_path / "set"), "--workers", "0", "--out"]
    write(tmp_path / "file", "in the way")
    assert main([*arguments, str(tmp_path / "file/pack")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert main([*arguments, str(tmp_path / "pack"), "--smallest", "1000"]) == 2
    assert "0 are damaged or missing" in capsys.readouterr().err.splitlines()[-1]


def test_clips_of_a_pack_are_those_of_its_loose_files(tmp_path: Path) -> None:
    many(tmp_path / "set")
    cut(tmp_path / "set", tmp_path / "pack", "--shard-mb", "0.5", "--licence", "own")
    loose, index = tmp_path / "loose", {}
    for shard in sorted((tmp_path / "pack").glob("*.tar")):
        with tarfile.open(shard) as tar:
            for name in tar.getnames():
                file = tar.extractfile(name)
                assert file is not None
                (loose / name).parent.mkdir(parents=True, exist_ok=True)
                (loose / name).write_bytes(file.read())
    for track in sorted(loose.iterdir()):
        rows = [[f"{file.stem}.jpg", *json.loads(file.read_text())["box"]] for file in sorted(track.glob("*.json"))]
        index[track.name] = rows
    (loose / "boxes.json").write_text(json.dumps(index))
    config = ClipConfig(length=3)
    datasets = [ClipDataset([(PackTracks(root), 1.0)], config, 6, seed=3) for root in (tmp_path / "pack", loose)]
    forked = DataLoader(datasets[0], batch_size=None, num_workers=2, collate_fn=tuple)
    for number, clip in enumerate(forked):
        for packed, first, second in zip(clip, datasets[0][number], datasets[1][number], strict=True):
            np.testing.assert_array_equal(packed, first)
            np.testing.assert_array_equal(packed, second)
        boxes = datasets[0][number].boxes
        assert (boxes[:, 2:] > 0).all()
        np.testing.assert_allclose(boxes[0, :2] + boxes[0, 2:] / 2, config.search_size / 2, atol=12)


def test_the_manifest_counts_and_checks(tmp_path: Path) -> None:
    many(tmp_path / "set")
    manifest = cut(tmp_path / "set", tmp_path / "pack", "--shard-mb", "0.5", "--licence", "own")
    shards = [tmp_path / "pack" / shard["file"] for shard in manifest["shards"]]
    assert len(shards) > 1
    assert (manifest["kind"], manifest["licence"], manifest["tracks"], manifest["frames"]) == ("folder", "own", 10, 80)
    assert manifest["bytes"] == sum(path.stat().st_size for path in shards)
    sums = subprocess.run(["sha256sum", *map(str, shards)], capture_output=True, text=True, check=True).stdout
    assert [line.split()[0] for line in sums.splitlines()] == [shard["sha256"] for shard in manifest["shards"]]
    names = {name for shard in shards for name in (shard.name, shard.with_suffix(".json").name)}
    assert contents(tmp_path / "pack").keys() == {"manifest.json", *names}
