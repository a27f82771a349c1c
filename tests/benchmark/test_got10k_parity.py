"""Our ``got10k`` protocol against the got10k toolkit's own experiments, on the same files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tctrack.benchmark.catalogue import load_benchmark
from tctrack.benchmark.evaluation import TrackerScores, evaluate
from tctrack.types import FloatArray

cv2 = pytest.importorskip("cv2")
experiments = pytest.importorskip("got10k.experiments")

TRACKERS = ("wanders", "static")
EXACT = {"abs": 1e-9, "rel": 0}


@pytest.fixture(autouse=True)
def _quiet_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "Agg")


def walk(length: int, seed: int) -> FloatArray:
    """A target that drifts and changes size, partly out of a 320x240 frame."""
    steps = np.random.default_rng(seed).normal(0, 6, (length, 4)).round(1)
    path = np.array([130.0, 90, 40, 30]) + np.cumsum(steps, axis=0)
    path[:, 2:] = np.maximum(path[:, 2:], 5)
    return path


def write(path: Path, rows: FloatArray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(path, rows, fmt="%.3f", delimiter=",")


def images(folder: Path, pattern: str, count: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(1, count + 1):
        (folder / pattern.format(number)).touch()


def results(folder: Path, name: str, truth: FloatArray, nested: bool = False) -> None:
    """A tracker that follows with errors, whose first box is not the given one, and one that stands still."""
    start = truth[0]
    errors = np.random.default_rng(len(truth)).normal(0, 8, truth.shape)
    runs = {"wanders": np.where(np.isfinite(truth), truth, start) + errors, "static": np.tile(start, (len(truth), 1))}
    for tracker in TRACKERS:
        file = f"{name}/{name}_001.txt" if nested else f"{name}.txt"
        write(folder / tracker / file, runs[tracker])
        times = f"{name}/{name}_time.txt" if nested else f"times/{name}_time.txt"
        write(folder / tracker / times, np.linspace(0.01, 0.05, len(truth)))


def scored(dataset: str, root: Path, folder: Path) -> dict[str, TrackerScores]:
    evaluation = evaluate(load_benchmark(dataset, root), folder, TRACKERS, "got10k")
    return {tracker.name: tracker for tracker in evaluation.trackers}


def assert_same(ours: TrackerScores, theirs: dict[str, dict[str, object]]) -> None:
    mean, overall = ours.mean(), theirs["overall"]
    assert mean.success == pytest.approx(overall["success_curve"], **EXACT)
    assert mean.precision == pytest.approx(overall["precision_curve"], **EXACT)
    assert mean.success_auc == pytest.approx(overall["success_score"], **EXACT)
    assert mean.precision_20 == pytest.approx(overall["precision_score"], **EXACT)
    assert ours.fps == pytest.approx(overall["speed_fps"], **EXACT)
    for name, scores in ours.sequences.items():
        assert scores.success_auc == pytest.approx(theirs["seq_wise"][name]["success_score"], **EXACT)


def test_dtb70(tmp_path: Path) -> None:
    for seed, name in enumerate(("Animal1", "Car6", "Yacht4")):
        truth = walk(30 + seed, seed)
        write(tmp_path / "DTB70" / name / "groundtruth_rect.txt", truth)
        images(tmp_path / "DTB70" / name / "img", "{:05d}.jpg", len(truth))
        results(tmp_path / "results" / "DTB70", name, truth)

    toolkit = experiments.ExperimentDTB70(
        tmp_path / "DTB70", result_dir=tmp_path / "results", report_dir=tmp_path / "reports"
    )
    theirs = toolkit.report(TRACKERS)

    ours = scored("DTB70", tmp_path / "DTB70", tmp_path / "results")
    for tracker in TRACKERS:
        assert_same(ours[tracker], theirs[tracker])


def test_uav123_drops_absent_frames(tmp_path: Path) -> None:
    root = tmp_path / "UAV123"
    for name, folder, first, last in (("bike2", "bike2", 1, 553), ("bird1_2", "bird1", 775, 1477)):
        truth = walk(last - first + 1, last)
        truth[40:60] = np.nan
        write(root / "anno" / "UAV123" / f"{name}.txt", truth)
        images(root / "data_seq" / "UAV123" / folder, "{:06d}.jpg", last)
        results(tmp_path / "results" / "UAV123", name, truth)
    for extra in ("a", "b"):  # the toolkit wants more than three entries
        (root / extra).mkdir()

    toolkit = experiments.ExperimentUAV123(root, result_dir=tmp_path / "results", report_dir=tmp_path / "reports")
    theirs = toolkit.report(TRACKERS)

    ours = scored("UAV123", root, tmp_path / "results")
    for tracker in TRACKERS:
        assert_same(ours[tracker], theirs[tracker])


def test_got10k_average_overlap_and_success_rate(tmp_path: Path) -> None:
    names = ("GOT-10k_Val_000001", "GOT-10k_Val_000002")
    for seed, name in enumerate(names):
        folder, truth = tmp_path / "val" / name, walk(25 + seed, seed)
        write(folder / "groundtruth.txt", truth)
        images(folder, "{:08d}.jpg", len(truth))
        cover = np.full(len(truth), 8)
        cover[5:9] = 0
        for label in ("cover", "absence", "cut_by_image"):
            np.savetxt(folder / f"{label}.label", cover, fmt="%d")
        (folder / "meta_info.ini").write_text("[METAINFO]\nurl: none\nresolution: (320, 240)\n")
        results(tmp_path / "results" / "GOT-10k", name, truth, nested=True)
    (tmp_path / "val" / "list.txt").write_text("\n".join(names))

    toolkit = experiments.ExperimentGOT10k(
        tmp_path, subset="val", result_dir=tmp_path / "results", report_dir=tmp_path / "reports"
    )
    theirs = toolkit.report(TRACKERS)

    ours = scored("GOT-10k", tmp_path, tmp_path / "results")
    for tracker in TRACKERS:
        mean = ours[tracker].mean()
        assert mean.ao == pytest.approx(theirs[tracker]["overall"]["ao"], **EXACT)
        assert mean.sr(0.5) == pytest.approx(theirs[tracker]["overall"]["sr"], **EXACT)
        for name, scores in ours[tracker].sequences.items():
            assert scores.ao == pytest.approx(theirs[tracker]["seq_wise"][name]["ao"], **EXACT)
