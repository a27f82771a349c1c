from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest

from tctrack.benchmark.catalogue import Found, load_benchmark
from tctrack.benchmark.evaluation import Evaluation, evaluate, format_table, to_csv, to_json, to_latex
from tctrack.benchmark.report import render_html
from tctrack.benchmark.results import Run, result_path, write_run
from tctrack.errors import DatasetError

TRACKERS = ("perfect", "late_bird")


@pytest.fixture(scope="module")
def results(dtb70: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a perfect tracker, with times, and of one that is two frames late, without."""
    folder = tmp_path_factory.mktemp("results")
    for sequence in load_benchmark("DTB70", dtb70).sequences:
        late = np.concatenate([sequence.boxes[:1], sequence.boxes[:1], sequence.boxes[:-2]])
        seconds = np.full(len(sequence), 0.02)
        write_run(result_path(folder / "DTB70" / "perfect", sequence.name), Run(sequence.boxes, seconds))
        write_run(result_path(folder / "DTB70" / "late_bird", sequence.name), Run(late, None))
    return folder


@pytest.fixture(scope="module")
def found(dtb70: Path) -> Found:
    return load_benchmark("DTB70", dtb70)


@pytest.fixture(scope="module")
def evaluation(found: Found, results: Path) -> Evaluation:
    return evaluate(found, results, TRACKERS[::-1], "otb")


def test_the_best_tracker_comes_first_with_its_speed(evaluation: Evaluation) -> None:
    best, second = evaluation.trackers

    assert (best.name, second.name) == TRACKERS
    assert best.mean().success_auc == pytest.approx(20 / 21)
    assert best.fps == pytest.approx(50)
    assert second.fps is None


def test_one_sequence_is_too_few_for_statistics(dtb70: Path, results: Path) -> None:
    one = evaluate(load_benchmark("DTB70", dtb70, ["Car6"]), results, TRACKERS, "otb")

    assert "too few" in format_table(one)
    assert "p = " not in format_table(one)
    content = json.loads(to_json(one))
    assert content["trackers"]["late_bird"]["intervals_95"]["success_auc"] is None
    assert content["comparisons"] == []
    assert "Too few sequences" in render_html(one, results)


def test_json_has_the_published_shape(evaluation: Evaluation) -> None:
    content = json.loads(to_json(evaluation))

    assert (content["protocol"], content["dataset"]) == ("otb", "DTB70")
    late = content["trackers"]["late_bird"]
    assert set(late) >= {"success_auc", "precision_20", "norm_precision_20", "fps", "sequences", "attributes"}
    assert set(late["sequences"]) == {"Animal1", "Car6", "Yacht4"}
    assert late["success_auc"] == pytest.approx(np.mean([item["success_auc"] for item in late["sequences"].values()]))
    chosen = [name for name in late["sequences"] if "SV" in attributes_of(evaluation, name)]
    assert late["attributes"]["SV"]["sequences"] == len(chosen)
    assert late["attributes"]["SV"]["success_auc"] == pytest.approx(
        np.mean([late["sequences"][name]["success_auc"] for name in chosen])
    )


def test_every_number_goes_with_its_protocol(found: Found, results: Path) -> None:
    evaluation = evaluate(found, results, TRACKERS, "got10k")

    assert "protocol got10k, 3 of 70 sequences" in format_table(evaluation)
    assert {row["protocol"] for row in csv.DictReader(to_csv(evaluation).splitlines())} == {"got10k"}
    assert "protocol got10k" in to_latex(evaluation)
    assert json.loads(to_json(evaluation))["trackers"]["perfect"]["ao"] == pytest.approx(1)


def test_ao_belongs_to_the_got10k_protocol(evaluation: Evaluation) -> None:
    assert "ao" not in json.loads(to_json(evaluation))["trackers"]["perfect"]


def test_latex_escapes_names_and_marks_the_best(evaluation: Evaluation) -> None:
    text = to_latex(evaluation)

    assert "late\\_bird" in text
    assert "perfect & \\textbf{0.952}" in text


def test_csv_has_means_attributes_and_sequences(evaluation: Evaluation) -> None:
    rows = list(csv.DictReader(to_csv(evaluation).splitlines()))

    assert {row["kind"] for row in rows} == {"mean", "attribute", "sequence"}
    assert sum(row["kind"] == "sequence" for row in rows) == 6


def test_repeated_runs_are_averaged(found: Found, results: Path, tmp_path: Path) -> None:
    for sequence in found.sequences:
        truth = sequence.boxes
        write_run(result_path(tmp_path / "DTB70" / "twice", sequence.name), Run(truth, None))
        write_run(result_path(tmp_path / "DTB70" / "twice", sequence.name, repeat=2), Run(truth + 1000, None))

    (tracker,) = evaluate(found, tmp_path, ["twice"], "otb").trackers

    assert tracker.mean().success_auc == pytest.approx(10 / 21)


def test_a_missing_result_is_refused_unless_partial_scores_are_wanted(
    found: Found, results: Path, tmp_path: Path
) -> None:
    write_run(result_path(tmp_path / "DTB70" / "half", "Car6"), Run(found.sequences[1].boxes, None))

    with pytest.raises(DatasetError, match=r"no result for 'Animal1'.*--partial"):
        evaluate(found, tmp_path, ["half"], "otb")
    assert "1 of 70 sequences" in evaluate(found, tmp_path, ["half"], "otb", partial=True).title
    with pytest.raises(DatasetError, match="no sequence of DTB70 has results"):
        evaluate(found, tmp_path, ["other"], "otb", partial=True)


def test_the_page_stands_alone(evaluation: Evaluation, results: Path) -> None:
    page = render_html(evaluation, results)

    links = re.findall(r"""(?:src|href)\s*=\s*["']([^"']*)""", page)
    assert links
    assert all(link.startswith(("data:", "#")) for link in links)
    assert "default-src 'none'" in page
    assert "url(" not in page.replace("url(#", "")
    assert "<script" not in page


def test_the_page_shows_every_part(evaluation: Evaluation, results: Path) -> None:
    page = render_html(evaluation, results)

    assert page.count("<svg") == 4  # three plots and the radar
    assert page.count("data:image/jpeg") == sum(min(8, len(sequence)) for sequence in evaluation.sequences)
    assert page.count("class='heat'") == 3
    assert "protocol otb" in page
    assert "$" not in page


def test_the_page_escapes_names(found: Found, tmp_path: Path) -> None:
    for sequence in found.sequences:
        write_run(result_path(tmp_path / "DTB70" / "<b>&", sequence.name), Run(sequence.boxes, None))

    page = render_html(evaluate(found, tmp_path, ["<b>&"], "otb"), tmp_path)

    assert "&lt;b&gt;&amp;" in page
    assert "<b>&<" not in page


def test_absent_boxes_leave_the_pictures_whole(found: Found, tmp_path: Path) -> None:
    for sequence in found.sequences:
        write_run(result_path(tmp_path / "DTB70" / "lost", sequence.name), Run(sequence.boxes * np.nan, None))

    assert "data:image/jpeg" in render_html(evaluate(found, tmp_path, ["lost"], "otb"), tmp_path)


def attributes_of(evaluation: Evaluation, name: str) -> tuple[str, ...]:
    return next(sequence.attributes for sequence in evaluation.sequences if sequence.name == name)
