"""Fit the coefficients of trackers/presence.py, and print how well they tell right boxes from wrong ones.

python tools/presence.py --selection TRACKS
python tools/presence.py --selection TRACKS --scenes 2 --exits 2 --frames 60

The tracker follows recorded tracks (as of tools/devset.py --selection) and generated scenes: look-alikes, jerks,
covers, and targets that leave the picture. Every sequence has the same weight. Columns: AUROC of frames on target
against those on something else, and against those without a target; expected calibration error; VOT-LT's F; OxUvA's
MaxGM. The first rows are for the coefficients as they are, the others for those fitted anew, always to other
recordings and scenes.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path
from typing import NamedTuple

import numpy as np
from devset import selection_set

from tctrack.benchmark.confidence import auroc, calibration_error, long_term_f, max_geometric_mean
from tctrack.benchmark.identity import ON_TARGET, SceneSequence, generate_exits, generate_scenes
from tctrack.benchmark.sequences import BenchmarkSequence
from tctrack.errors import TCTrackError
from tctrack.geometry.boxes import has_area, iou
from tctrack.types import FloatArray
from trackers.siamese import SiameseTracker, build_siamese

#: Parts of the cross-validation, and the strength of the ridge.
FOLDS, RIDGE = 5, 1e-3


class Telemetry(NamedTuple):
    """What a tracker told on one sequence, by frame but the first."""

    recording: str
    """The video or the scene."""
    evidence: FloatArray
    truth: FloatArray
    boxes: FloatArray
    confidence: FloatArray
    reported: FloatArray

    @property
    def right(self) -> FloatArray:
        return np.nan_to_num(iou(self.truth, self.boxes)) >= ON_TARGET


def follow(tracker: SiameseTracker, sequence: BenchmarkSequence, frames: int) -> Telemetry:
    state, evidence, results = None, [], []
    for frame in itertools.islice(sequence.frames(), frames):
        if state is None:
            state = tracker.start(frame, sequence.boxes[0])
            continue
        result, state = tracker.step(frame, state)
        evidence.append(state.presence.evidence.ravel())
        results.append(result)
    recorded = isinstance(sequence.source, tuple) and sequence.source
    return Telemetry(
        str(sequence.source[0].parent) if recorded else sequence.name,
        np.array(evidence),
        sequence.boxes[1 : len(results) + 1],
        np.array([result.box for result in results]),
        np.array([result.confidence for result in results]),
        np.array([result.state == "tracked" for result in results]),
    )


def fit(items: list[Telemetry]) -> FloatArray:
    """Return a constant and coefficients by Newton's method: logistic regression with a ridge on scaled features."""
    features = np.concatenate([item.evidence for item in items])
    right = np.concatenate([item.right for item in items])
    weight = np.concatenate([np.full(len(item.right), 1 / len(item.right) / len(items)) for item in items])
    centre, scale = features.mean(0), features.std(0) + 1e-9
    inputs = np.column_stack((np.ones(len(features)), (features - centre) / scale))
    ridge = RIDGE * np.diag([0.0] + [1.0] * features.shape[1])
    solution = np.zeros(inputs.shape[1])
    for _ in range(50):
        chance = 1 / (1 + np.exp(-inputs @ solution))
        slope = inputs.T @ (weight * (chance - right)) + ridge @ solution
        curve = (inputs * (weight * chance * (1 - chance) + 1e-9)[:, None]).T @ inputs + ridge
        solution -= np.linalg.solve(curve, slope)
    coefficients = solution[1:] / scale
    return np.concatenate(([solution[0] - coefficients @ centre], coefficients))


def cross_validate(items: list[Telemetry]) -> list[Telemetry]:
    """Return the telemetry with the confidence of coefficients that were fitted to other recordings."""
    names = sorted({item.recording for item in items})
    fold = dict(zip(names, np.random.default_rng(0).permutation(len(names)) % FOLDS, strict=True))
    fitted = []
    for item in items:
        constant, *coefficients = fit([other for other in items if fold[other.recording] != fold[item.recording]])
        confidence = 1 / (1 + np.exp(-constant - item.evidence @ coefficients))
        fitted.append(item._replace(confidence=confidence, reported=confidence >= 0.5))
    return fitted


def print_row(name: str, items: list[Telemetry]) -> None:
    right, truth, boxes, confidence, reported = (
        np.concatenate([getattr(item, field) for item in items])
        for field in ("right", "truth", "boxes", "confidence", "reported")
    )
    shown = has_area(truth)
    cells = []
    for others in (shown & ~right, ~shown):
        both = right | others
        cells.append(f"{auroc(right[both], confidence[both]):8.3f}" if right.any() and others.any() else f"{'-':>8}")
    cells.append(f"{calibration_error(right, confidence):8.3f}")
    cells.append(f"{long_term_f(truth, boxes, confidence):8.3f}")
    cells.append(f"{max_geometric_mean(truth, boxes, reported):8.3f}" if not shown.all() else f"{'-':>8}")
    print(f"{name:32}", *cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--selection", type=Path, required=True, metavar="TRACKS", help="folder of recorded tracks")
    parser.add_argument("--weights", metavar="FILE", help="weights of tctrack-lite; the shipped ones unless given")
    parser.add_argument("--scenes", type=int, default=8, metavar="N", help="scenes of each kind (default: 8)")
    parser.add_argument("--exits", type=int, default=10, metavar="N", help="scenes with an exit (default: 10)")
    parser.add_argument("--frames", type=int, default=200, metavar="N", help="of each sequence (default: 200)")
    try:
        run(parser.parse_args())
    except TCTrackError as error:
        parser.exit(2, f"error: {error}\n")


def run(args: argparse.Namespace) -> None:
    tracker = build_siamese("tctrack-lite", args.weights)
    scenes: list[SceneSequence] = [*generate_scenes(args.scenes, seed=7), *generate_exits(args.exits, away=60, seed=7)]
    recorded = [follow(tracker, sequence, args.frames) for sequence in selection_set(args.selection)]
    generated = [follow(tracker, sequence, args.frames) for sequence in scenes]
    print(f"{'':32}", *(f"{title:>8}" for title in ("wrong", "absent", "ECE", "F", "MaxGM")))
    count = len(recorded)
    for title, items in (("as it is", recorded + generated), ("fitted", cross_validate(recorded + generated))):
        print_row(f"{title}, recorded ({count})", items[:count])
        print_row(f"{title}, generated ({len(generated)})", items[count:])
        print_row(f"{title}, all ({len(items)})", items)
    print("constant and coefficients:", *np.round(fit(recorded + generated), 2))


if __name__ == "__main__":
    main()
