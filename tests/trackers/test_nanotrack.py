from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tctrack.benchmark.catalogue import load_benchmark
from tctrack.benchmark.metrics import score
from tctrack.benchmark.sequences import read_boxes
from tctrack.errors import BoxError, DependencyError
from tests.clips import HEIGHT, WIDTH, square_box, square_frames
from trackers import Tracker, build_tracker
from trackers.nanotrack import MIN_SIDE, SEARCH, SETTINGS, STRIDE, TEMPLATE, NanoTracker


def see(crop: np.ndarray) -> list[np.ndarray]:
    return [crop]


def find_square(template: np.ndarray, search: np.ndarray, cells: int) -> Sequence[np.ndarray]:
    """The ideal head: looks for what is as red as the square, and is sure of the cells on it."""
    assert template.shape == (1, 3, TEMPLATE, TEMPLATE)
    assert search.shape == (1, 3, SEARCH, SEARCH)
    rows, columns = (np.flatnonzero((search[0, 2] > 188).any(axis)) for axis in (1, 0))
    points = SEARCH / 2 + (np.arange(cells) - cells // 2) * STRIDE
    left, right = points - columns[0], columns[-1] + 1 - points
    top, bottom = points - rows[0], rows[-1] + 1 - points
    row, column = np.ones((1, cells)), np.ones((cells, 1))
    distances = np.stack((column * left, top[:, None] * row, column * right, bottom[:, None] * row))
    sure = 6 * np.sign(distances.min(0))
    return np.stack((-sure, sure))[None], distances[None]


def ideal(cells: int) -> NanoTracker:
    return NanoTracker(see, lambda template, search: find_square(template, search, cells), SETTINGS[cells])


@pytest.mark.parametrize("cells", SETTINGS)
def test_the_boxes_are_where_the_network_sees_them(cells: int) -> None:
    tracker = ideal(cells)
    frames = square_frames(20)
    tracker.init(frames[0], square_box(0))
    for index, frame in enumerate(frames[1:], 1):
        result = tracker.update(frame)
        # A crop lies on whole pixels and shows the square's edge to about a pixel.
        np.testing.assert_allclose(result.box, square_box(index), atol=1.2)
        assert result.score == pytest.approx(1, abs=1e-4)


def test_the_size_follows_at_the_settings_rate() -> None:
    """A box twice as large as the target is given: of the change, ``lr`` times score and penalty shows at once."""
    tracker = ideal(15)
    frames = square_frames(2)
    x, y, w, h = square_box(0)
    tracker.init(frames[0], (x - w / 2, y - h / 2, 2 * w, 2 * h))
    side = tracker.update(frames[1]).box.w
    penalty = np.exp(-(2 - 1) * SETTINGS[15].penalty_k)
    assert 2 * w - side == pytest.approx(SETTINGS[15].lr * penalty * w, rel=0.03)


def test_protocol() -> None:
    tracker = ideal(15)
    assert isinstance(tracker, Tracker)
    frames = square_frames(2)
    with pytest.raises(BoxError, match="outside"):
        tracker.init(frames[0], (WIDTH, HEIGHT, 5, 5))
    for _ in range(2):
        with pytest.raises(RuntimeError, match="call init"):
            tracker.update(frames[0])
        tracker.init(frames[0], (21, 41, 0.5, 300))
        box = tracker.update(frames[1]).box
        assert box.w >= MIN_SIDE
        assert box.h <= HEIGHT
        tracker.reset()


def test_a_folder_without_its_networks(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    with pytest.raises(DependencyError, match=r"one file \*backbone\*\.onnx, and holds 0"):
        build_tracker("nanotrack", weights=tmp_path)
    (tmp_path / "backbone.onnx").write_text("no network")
    with pytest.raises(DependencyError, match=r"cannot read .*backbone\.onnx"):
        build_tracker("nanotrack", weights=tmp_path)


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(DependencyError, match=r"cannot import onnx .*pip install '\.\[peers\]'"):
        build_tracker("nanotrack", weights=tmp_path)


def write_networks(folder: Path, cells: int) -> None:
    """A backbone that pools, and a head that always sees the target one cell to the right."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    def tensor(name: str, *shape: int) -> object:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    def constant(name: str, value: np.ndarray) -> object:
        return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value.astype(np.float32)))

    def write(name: str, nodes: list[object], inputs: list[object], outputs: list[object]) -> None:
        graph = helper.make_graph(nodes, name, inputs, outputs)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), folder / name)

    crop = tensor("input", 1, 3, SEARCH, SEARCH)
    pool = helper.make_node("MaxPool", ["input"], ["output"], kernel_shape=[STRIDE] * 2, strides=[STRIDE] * 2)
    write("a_backbone.onnx", [pool], [crop], [tensor("output", 1, 3, 15, 15)])
    logits = np.zeros((1, 2, cells, cells))
    logits[0, 1, cells // 2, cells // 2 + 1] = 9
    nodes = [constant("output1", logits), constant("output2", np.full((1, 4, cells, cells), 20))]
    features = [tensor("input1", 1, 3, 7, 7), tensor("input2", 1, 3, 15, 15)]
    write("a_head.onnx", nodes, features, [tensor("output1", *logits.shape), tensor("output2", 1, 4, cells, cells)])


@pytest.mark.parametrize("cells", SETTINGS)
def test_networks_are_read_from_a_folder(tmp_path: Path, cells: int) -> None:
    pytest.importorskip("onnxruntime")
    write_networks(tmp_path, cells)
    tracker = build_tracker("nanotrack", weights=tmp_path)
    first, second = square_frames(2)
    tracker.init(first, (60, 40, 30, 30))
    box = tracker.update(second).box
    # The context of a 30-pixel target is 60 pixels, shown at 127.
    assert box.x + box.w / 2 == pytest.approx(75 + STRIDE * 60 / TEMPLATE)
    assert box.y + box.h / 2 == pytest.approx(55)


def test_other_heads_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    write_networks(tmp_path, 25)
    with pytest.raises(DependencyError, match="maps of 25 cells; NanoTrack v2 makes 16 and v3 makes 15"):
        build_tracker("nanotrack", weights=tmp_path)


@pytest.mark.data
def test_the_published_boxes(shared: Path) -> None:
    """On the original frames v3 gives the published boxes, until rounding parts them by a fraction of a pixel."""
    pytest.importorskip("onnxruntime")
    data = shared / "data"
    (sequence,) = load_benchmark("DTB70", data / "benchmarks", ["MountainBike6"]).sequences
    published = read_boxes(data / "raw_results/DTB70/NanoTrackV3/MountainBike6.txt")
    tracker = build_tracker("nanotrack", weights=data / "peers/nanotrackv3")
    frames = sequence.frames()
    tracker.init(next(frames), tuple(sequence.boxes[0]))
    boxes = np.array([sequence.boxes[0], *(tracker.update(frame).box for frame in frames)])
    np.testing.assert_allclose(boxes[1:20], published[1:20], atol=0.02)
    difference = score(sequence.boxes, boxes).success_auc - score(sequence.boxes, published).success_auc
    assert abs(difference) < 0.005
