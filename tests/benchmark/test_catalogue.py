from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tctrack.benchmark.catalogue import benchmark_names, describe, load_benchmark
from tctrack.benchmark.sequences import BenchmarkSequence, four_starts, read_boxes
from tctrack.config import config_root, load_config
from tctrack.errors import ConfigError, DatasetError
from tests.clips import frame_number, write_video


def put(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def boxes(count: int, first: int = 1) -> str:
    """Lines of boxes whose left edge is the number of the frame."""
    return "".join(f"{number},2,30,40\n" for number in range(first, first + count))


def images(folder: Path, pattern: str, count: int) -> None:
    folder.mkdir(parents=True)
    for number in range(1, count + 1):
        (folder / pattern.format(number)).touch()


@pytest.mark.parametrize(
    ("name", "sequences", "attributes"),
    [
        ("UAV123", 123, 12),
        ("UAV20L", 20, 12),
        ("UAV123_10fps", 123, 12),
        ("DTB70", 70, 11),
        ("UAVDT", 50, 0),
        ("UAVTrack112", 112, 13),
        ("UAVTrack112_L", 0, 13),
        ("VisDrone-SOT", 35, 12),
        ("OTB100", 100, 0),
        ("LaSOT", 280, 0),
        ("NfS", 100, 0),
        ("GOT-10k", 0, 0),
        ("GOT-10k_test", 0, 0),
        ("folder", 0, 0),
    ],
)
def test_every_benchmark_is_described(name: str, sequences: int, attributes: int) -> None:
    benchmark = describe(name)

    assert (len(benchmark.sequences), len(benchmark.attributes)) == (sequences, attributes)
    for entry in benchmark.sequences.values():
        assert set(entry.attributes) <= set(benchmark.attributes)
        assert (entry.start is None) == (entry.end is None)


def test_names_are_forgiving_but_not_guessed() -> None:
    assert describe("uav123@10FPS").name == "UAV123_10fps"
    with pytest.raises(ConfigError, match="did you mean 'DTB70'"):
        describe("DTB7O")


def test_every_description_is_a_benchmark() -> None:
    files = sorted((config_root() / "benchmark").glob("*.yaml"))

    assert len(files) == len(benchmark_names())
    for file in files:
        assert describe(load_config(file)["name"]).source


def test_uav123_sequences_are_ranges_of_longer_folders(tmp_path: Path) -> None:
    images(tmp_path / "data_seq" / "UAV123" / "bird1", "{:06d}.jpg", 1477)
    put(tmp_path / "anno" / "UAV123" / "bird1_2.txt", boxes(1477 - 775 + 1, first=775))

    found = load_benchmark("UAV123", tmp_path)

    (sequence,) = found.sequences
    assert sequence.name == "bird1_2"
    assert isinstance(sequence.source, tuple)
    assert [path.name for path in (sequence.source[0], sequence.source[-1])] == ["000775.jpg", "001477.jpg"]
    assert sequence.boxes[0, 0] == 775
    assert sequence.attributes == describe("UAV123").sequences["bird1_2"].attributes
    assert len(found.missing) == 122


def test_the_root_may_hold_the_benchmark(tmp_path: Path) -> None:
    put(tmp_path / "DTB70" / "Car6" / "groundtruth_rect.txt", boxes(2))
    images(tmp_path / "DTB70" / "Car6" / "img", "{:05d}.jpg", 2)

    assert load_benchmark("DTB70", tmp_path).root == tmp_path / "DTB70"


def test_a_wrong_folder_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"data_seq/UAV123/bike1 and anno/UAV123/bike1\.txt.*UAV123\.json.*https"):
        load_benchmark("UAV123", tmp_path)


def test_frames_and_boxes_must_agree_in_number(tmp_path: Path) -> None:
    put(tmp_path / "Car6" / "groundtruth_rect.txt", boxes(3))
    images(tmp_path / "Car6" / "img", "{:05d}.jpg", 2)

    with pytest.raises(DatasetError, match=r"2 images for Car6, but .*groundtruth_rect.txt has 3 boxes"):
        load_benchmark("DTB70", tmp_path)


@pytest.mark.parametrize("first", ["NaN,NaN,NaN,NaN", "1,2,0,4"])
def test_the_first_box_must_be_usable(tmp_path: Path, first: str) -> None:
    put(tmp_path / "Car6" / "groundtruth_rect.txt", f"{first}\n1,2,3,4\n")
    images(tmp_path / "Car6" / "img", "{:05d}.jpg", 2)

    with pytest.raises(DatasetError, match="first box of Car6"):
        load_benchmark("DTB70", tmp_path)


def test_only_wanted_sequences_are_read_and_wrong_names_refused(tmp_path: Path) -> None:
    for name in ("Car6", "Car8"):
        put(tmp_path / name / "groundtruth_rect.txt", boxes(2))
        images(tmp_path / name / "img", "{:05d}.jpg", 2)
    put(tmp_path / "Car8" / "groundtruth_rect.txt", "broken")

    assert [item.name for item in load_benchmark("DTB70", tmp_path, ["Car6"]).sequences] == ["Car6"]
    with pytest.raises(DatasetError, match="'Gull1' of DTB70 is not under"):
        load_benchmark("DTB70", tmp_path, ["Gull1"])
    with pytest.raises(DatasetError, match="did you mean 'Car6'"):
        load_benchmark("DTB70", tmp_path, ["car6"])


def test_visdrone_attributes_are_read_from_its_files(tmp_path: Path) -> None:
    name = "uav0000011_00000_s"
    images(tmp_path / "sequences" / name, "img{:07d}.jpg", 2)
    put(tmp_path / "annotations" / f"{name}.txt", boxes(2))
    put(tmp_path / "attributes" / f"{name}_attr.txt", "0,0,1,1,0,0,0,0,1,0,0,0\n")

    (sequence,) = load_benchmark("VisDrone-SOT", tmp_path).sequences

    assert sequence.attributes == ("CM", "FM", "POC")


def test_uavdt_in_both_of_its_layouts(tmp_path: Path) -> None:
    images(tmp_path / "a" / "UAV-benchmark-S" / "S0101", "img{:06d}.jpg", 2)
    put(tmp_path / "a" / "UAV-benchmark-SOT_v1.0" / "anno" / "S0101_gt.txt", boxes(2))
    images(tmp_path / "b" / "data_seq" / "S0101", "img{:06d}.jpg", 2)
    put(tmp_path / "b" / "anno" / "S0101_gt.txt", boxes(2))

    for root in ("a", "b"):
        assert [item.name for item in load_benchmark("UAVDT", tmp_path / root).sequences] == ["S0101"]


def test_uavtrack112_l_takes_its_sequences_from_the_files(tmp_path: Path) -> None:
    for name in ("group1", "air conditioning box1"):
        images(tmp_path / "data_seq" / name, "{:05d}.jpg", 2)
        put(tmp_path / "anno_l" / f"{name}.txt", boxes(2))
    put(tmp_path / "anno" / "truck.txt", boxes(2))

    assert [item.name for item in load_benchmark("UAVTrack112_L", tmp_path).sequences] == [
        "air conditioning box1",
        "group1",
    ]


def test_otb100_special_sequences(tmp_path: Path) -> None:
    images(tmp_path / "David" / "img", "{:04d}.jpg", 770)
    put(tmp_path / "David" / "groundtruth_rect.txt", boxes(471, first=300).replace(",", "\t"))
    images(tmp_path / "Jogging" / "img", "{:04d}.jpg", 2)
    put(tmp_path / "Jogging" / "groundtruth_rect.1.txt", boxes(2))
    put(tmp_path / "Jogging" / "groundtruth_rect.2.txt", boxes(2, first=50))

    david, first, second = load_benchmark("OTB100", tmp_path).sequences

    assert isinstance(david.source, tuple)
    assert david.source[0].name == "0300.jpg"
    assert (first.name, second.name) == ("Jogging.1", "Jogging.2")
    assert second.boxes[0, 0] == 50


def test_lasot_is_grouped_by_class(tmp_path: Path) -> None:
    folder = tmp_path / "airplane" / "airplane-1"
    images(folder / "img", "{:08d}.jpg", 2)
    put(folder / "groundtruth.txt", boxes(2))

    assert [item.name for item in load_benchmark("LaSOT", tmp_path).sequences] == ["airplane-1"]


def test_nfs_keeps_every_eighth_box(tmp_path: Path) -> None:
    images(tmp_path / "bee" / "30" / "bee", "{:05d}.jpg", 3)
    lines = [f'0 {10 + n} 20 {40 + n} 60 {n} 0 0 0 "bee"' for n in range(17)]
    put(tmp_path / "bee" / "30" / "bee.txt", "\n".join(lines))

    (sequence,) = load_benchmark("NfS", tmp_path).sequences

    assert sequence.boxes.tolist() == [[10, 20, 30, 40], [18, 20, 30, 40], [26, 20, 30, 40]]


def test_got10k_hides_covered_frames_and_withholds_its_test_truth(tmp_path: Path) -> None:
    folder = tmp_path / "val" / "GOT-10k_Val_000001"
    images(folder, "{:08d}.jpg", 3)
    put(folder / "groundtruth.txt", boxes(3))
    put(folder / "cover.label", "8\n0\n8\n")
    put(folder / "meta_info.ini", "[METAINFO]\nresolution: (1920, 1080)\n")
    test = tmp_path / "test" / "GOT-10k_Test_000001"
    images(test, "{:08d}.jpg", 3)
    put(test / "groundtruth.txt", boxes(1))

    (val,) = load_benchmark("GOT-10k", tmp_path).sequences
    hidden = load_benchmark("GOT-10k_test", tmp_path)

    assert np.isnan(val.boxes[1]).all()
    assert val.frame_size == (1920, 1080)
    assert hidden.benchmark.withheld
    assert np.isfinite(hidden.sequences[0].boxes).all(axis=1).tolist() == [True, False, False]


def test_folder_takes_images_and_videos(tmp_path: Path) -> None:
    images(tmp_path / "walk", "{}.png", 11)
    put(tmp_path / "walk" / "groundtruth.txt", boxes(11))
    put(tmp_path / "fly.MP4")
    put(tmp_path / "fly.txt", boxes(4))
    put(tmp_path / "notes.txt", "no frames beside it")

    fly, walk = load_benchmark("folder", tmp_path).sequences

    assert (fly.name, fly.source) == ("fly", tmp_path / "fly.MP4")
    assert isinstance(walk.source, tuple)
    assert [path.stem for path in walk.source[8:]] == ["9", "10", "11"]


def test_annotations_alone_are_enough(tmp_path: Path) -> None:
    content = {"Car6": {"gt": [[1, 2, 3, 4], [None] * 4], "att": [1.0] + [0.0] * 10}}
    put(tmp_path / "DTB70.json", json.dumps(content))

    found = load_benchmark("DTB70", tmp_path)

    (sequence,) = found.sequences
    assert sequence.attributes == ("SV",)
    assert np.isnan(sequence.boxes[1]).all()
    assert len(found.missing) == 69
    with pytest.raises(DatasetError, match="Car6 has 0 frames, but Car6 has 2 boxes"):
        list(sequence.frames())


@pytest.mark.parametrize(
    "text", ["", "[]", '{"Car6": {}}', '{"Car6": {"gt": [[1, 2]]}}', '{"Car6": {"gt": [[1,2,3,4]], "att": [1]}}']
)
def test_malformed_annotations_are_refused(tmp_path: Path, text: str) -> None:
    put(tmp_path / "DTB70.json", text)

    with pytest.raises(DatasetError, match="DTB70"):
        load_benchmark("DTB70", tmp_path)


def test_an_image_that_does_not_decode_is_named(tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    images(tmp_path / "Car6" / "img", "{:05d}.jpg", 1)
    put(tmp_path / "Car6" / "groundtruth_rect.txt", boxes(1))

    with pytest.raises(DatasetError, match=r"cannot decode image .*00001\.jpg"):
        next(load_benchmark("DTB70", tmp_path).sequences[0].frames())


@pytest.mark.data
def test_shipped_ranges_and_attributes_are_those_of_the_annotations(shared: Path) -> None:
    for name in ("UAV123", "UAV123_10fps", "UAV20L", "DTB70", "UAVDT"):
        content = json.loads((shared / "data" / "annotations" / f"{name}.json").read_text())
        shipped = describe(name)
        assert set(shipped.sequences) == set(content)
        for sequence in load_benchmark(name, shared / "data" / "annotations").sequences:
            entry = shipped.sequences[sequence.name]
            assert entry.attributes == sequence.attributes
            if entry.start is not None and entry.end is not None:
                assert entry.end - entry.start + 1 == len(sequence)


@pytest.mark.data
def test_the_sequences_at_hand_are_read(shared: Path) -> None:
    found = load_benchmark("UAV123@10fps", shared / "data" / "benchmarks")

    assert [(item.name, len(item)) for item in found.sequences] == [("building5", 161), ("wakeboard7", 67)]
    assert sum(1 for _ in found.sequences[1].frames()) == 67
    assert read_boxes(shared / "data" / "videos" / "DTB70_Gull1.txt").shape == (120, 4)


def test_a_sequence_starts_at_four_places_with_the_boxes_of_their_frames(tmp_path: Path) -> None:
    true = np.array([[10.0 * number, 2, 3, 4] for number in range(9)])
    true[3] = np.nan

    runs = four_starts(BenchmarkSequence("a", true, write_video(tmp_path / "a.avi", 9, "MJPG")))

    order = [[0, 1, 2, 3, 4, 5, 6, 7, 8], [8, 7, 6, 5, 4, 3, 2, 1, 0], [2, 3, 4, 5, 6, 7, 8], [6, 5, 4, 3, 2, 1, 0]]
    assert len({run.name for run in runs}) == 4
    for run, numbers in zip(runs, order, strict=True):
        np.testing.assert_array_equal(run.boxes, true[numbers])
        assert [frame_number(frame) for frame in run.frames()] == numbers


def test_a_sequence_without_a_target_has_no_starts() -> None:
    with pytest.raises(DatasetError, match="empty has no frame with a target"):
        four_starts(BenchmarkSequence("empty", np.full((3, 4), np.nan)))
