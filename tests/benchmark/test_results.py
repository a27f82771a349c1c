from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tctrack.benchmark.results import Run, find_runs, find_trackers, read_run, result_path, write_run, write_text
from tctrack.errors import DatasetError, OutputError


def test_a_run_comes_back(tmp_path: Path) -> None:
    boxes = np.array([[1.5, 2, 3, 4], [np.nan] * 4, [-3.25, 0, 7, 8]])
    path = result_path(tmp_path / "MIL", "bike1")

    write_run(path, Run(boxes, np.array([0.5, 0, 0.125])))
    back = read_run(path, 3)

    np.testing.assert_array_equal(back.boxes, boxes)
    np.testing.assert_array_equal(back.seconds, [0.5, 0, 0.125])
    assert (tmp_path / "MIL" / "times" / "bike1_time.txt").is_file()
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize(
    "text",
    [
        "1,2,3,4\n5,6,7,8\n",
        "1\t2\t3\t4\n5\t6\t7\t8\n",
        "1 2  3 4\n 5 6 7 8 \n",
        "1, 2, 3, 4\r\n5, 6, 7, 8\r\n",
        "\ufeff1,2,3,4\n5,6,7,8",
        "1,2,3,4,\n5,6,7,8,\n\n\n",
        "1.0000e+00,2,3,4\n5,6,7,8\n",
    ],
)
def test_every_usual_spelling_is_read(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode())

    np.testing.assert_array_equal(read_run(path, 2).boxes, [[1, 2, 3, 4], [5, 6, 7, 8]])


def test_nan_and_negative_sizes_are_read_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("NaN,NaN,NaN,NaN\n1,2,-3,4\n")

    np.testing.assert_array_equal(read_run(path, 2).boxes, [[np.nan] * 4, [1, 2, -3, 4]])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1,2,3,4\n1,2,3\n", "a.txt:2: expected four numbers"),
        ("1,2,3,4\n\n1,2,3,4\n", "a.txt:2: expected four numbers"),
        ("1,2,3,4\nx,y,w,h\n", "a.txt:2: .*'x,y,w,h'"),
        ("1,2,3,inf\n", "a.txt:1: "),
        ("1,2,3,4,5,6,7,8\n", "a.txt:1: "),
        ("1,2,3,4\n", "a.txt has 1 boxes, but the sequence has 2 frames"),
        ("", "a.txt is empty"),
    ],
)
def test_malformed_files_are_refused_by_name_and_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "a.txt"
    path.write_text(text)

    with pytest.raises(DatasetError, match=words):
        read_run(path, 2)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xff\xfe\x00")

    with pytest.raises(DatasetError, match="not text"):
        read_run(path, 2)


@pytest.mark.parametrize(
    "times", ["0.02\n", "0.02\n" * 3, "0.02\n-0.02\n", "0.02\nnan\n", "inf\n0.02\n", "0.02\n1e-320\n"]
)
def test_times_that_do_not_fit_the_frames_are_refused(times: str, tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "1,2,3,4\n" * 2)
    write_text(tmp_path / "times" / "a_time.txt", times)
    with pytest.raises(DatasetError, match=r"a_time\.txt must have a number of seconds"):
        read_run(tmp_path / "a.txt", 2)


def test_malformed_times_are_refused(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "1,2,3,4\n")
    write_text(tmp_path / "times" / "a_time.txt", "fast\n")

    with pytest.raises(DatasetError, match="a_time"):
        read_run(tmp_path / "a.txt", 1)


def test_runs_are_found_in_both_layouts(tmp_path: Path) -> None:
    for name in ("bird1.txt", "bird1_1.txt", "bird1_002.txt", "bird1/bird1_001.txt"):
        write_text(tmp_path / name, "1,2,3,4\n")

    found = [str(path.relative_to(tmp_path)) for path in find_runs(tmp_path, "bird1")]

    assert found == ["bird1.txt", "bird1_002.txt", "bird1/bird1_001.txt"]


def test_no_results_are_an_error_that_names_the_layout(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"DTB70/TRACKER/SEQUENCE\.txt"):
        find_trackers(tmp_path, "DTB70")


def test_unwritable_results_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(OutputError, match="cannot write"):
        write_text(tmp_path / "file" / "a.txt", "1")


def test_a_sequence_named_like_a_repeat_keeps_its_result(tmp_path: Path) -> None:
    for name in ("car", "car_002", "car_003", "clip [x]", "clip [x]_002"):
        write_text(tmp_path / "mil" / f"{name}.txt", "1,2,3,4\n")
    write_text(tmp_path / "mil/errors/b_001.txt", "Traceback")
    write_text(tmp_path / "broken/errors/b_001.txt", "Traceback")

    def stems(sequence: str) -> list[str]:
        return [path.stem for path in find_runs(tmp_path / "mil", sequence, ("car", "car_002", "clip [x]"))]

    assert stems("car") == ["car", "car_003"]
    assert stems("clip [x]") == ["clip [x]", "clip [x]_002"]
    assert find_trackers(tmp_path.parent, tmp_path.name) == ["mil"]
