"""Success, precision and attribute plots in the field's style, as inline SVG."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tctrack.benchmark.evaluation import Evaluation
from tctrack.benchmark.metrics import DISTANCES, NORM_DISTANCES, OVERLAPS
from tctrack.errors import require

#: Colours of the trackers in order of success AUC (Okabe and Ito's palette, safe for colour-blind readers).
COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#5b5b5b", "#8a5a00", "#7b4fc9", "#000000")
#: Colour of the true box.
TRUTH_COLOUR = "#ffe000"
_DASHES = ("-", "--", ":", "-.")


def tracker_colour(rank: int) -> str:
    """Return the colour ``#rrggbb`` of the tracker at a rank."""
    return COLOURS[rank % len(COLOURS)]


def bgr(colour: str) -> tuple[int, int, int]:
    """Return a colour ``#rrggbb`` in OpenCV's channel order."""
    red, green, blue = bytes.fromhex(colour[1:])
    return blue, green, red


def plot_success(evaluation: Evaluation) -> str:
    """Plot the success curves; trackers are named with their AUC."""
    return _curves(evaluation, "Success plot", "Overlap threshold", "Success rate", OVERLAPS, "success", "success_auc")


def plot_precision(evaluation: Evaluation) -> str:
    """Plot the precision curves; trackers are named with their precision at 20 pixels."""
    label = "Location error threshold (pixels)"
    return _curves(evaluation, "Precision plot", label, "Precision", DISTANCES, "precision", "precision_20", mark=20)


def plot_norm_precision(evaluation: Evaluation) -> str:
    """Plot the normalised precision curves; trackers are named with the area under them."""
    label = "Location error threshold (target sizes)"
    return _curves(
        evaluation,
        "Normalised precision plot",
        label,
        "Normalised precision",
        NORM_DISTANCES,
        "norm_precision",
        "norm_precision_auc",
    )


def plot_attributes(evaluation: Evaluation) -> str:
    """Plot the success AUC of each attribute as a radar; empty when the benchmark names fewer than three."""
    names = evaluation.present_attributes()
    if len(names) < 3:
        return ""
    pyplot = _pyplot()
    angles = np.linspace(0, 2 * np.pi, len(names), endpoint=False)
    figure, axes = pyplot.subplots(figsize=(6.4, 5.6), subplot_kw={"projection": "polar"})
    axes.set_theta_offset(np.pi / 2)
    axes.set_theta_direction(-1)
    top = 0.1
    for rank, tracker in enumerate(evaluation.trackers):
        values = [tracker.mean(evaluation.with_attribute(name)).success_auc for name in names]
        top = max(top, *values)
        style = {"color": tracker_colour(rank), "linestyle": _dash(rank), "linewidth": 2}
        axes.plot(_closed(angles), _closed(values), label=tracker.name, **style)
        axes.fill(angles, values, color=tracker_colour(rank), alpha=0.06)
    axes.set_ylim(0, min(1, np.ceil(top * 10) / 10))
    axes.set_xticks(angles, [f"{name} ({len(evaluation.with_attribute(name))})" for name in names])
    axes.set_rlabel_position(180 / len(names))
    axes.tick_params(axis="x", pad=12)
    axes.tick_params(axis="y", labelsize=8, colors="#777777")
    axes.grid(color="#dddddd")
    axes.spines["polar"].set_color("#bbbbbb")
    axes.set_title(f"Success AUC by attribute ({evaluation.protocol})", pad=24)
    figure.legend(loc="outside lower center", ncols=min(4, len(evaluation.trackers)), frameon=False)
    return _svg(figure)


def _curves(
    evaluation: Evaluation,
    title: str,
    x_label: str,
    y_label: str,
    thresholds: ArrayLike,
    curve: str,
    metric: str,
    mark: float | None = None,
) -> str:
    figure, axes = _pyplot().subplots(figsize=(5.6, 4.6))
    value = evaluation.metrics[metric][1]
    ranked = [(rank, tracker.name, tracker.mean()) for rank, tracker in enumerate(evaluation.trackers)]
    for rank, name, mean in sorted(ranked, key=lambda item: -value(item[2])):
        label = f"{name} [{value(mean):.3f}]"
        style = {"color": tracker_colour(rank), "linestyle": _dash(rank), "linewidth": 2}
        axes.plot(thresholds, getattr(mean, curve), label=label, **style)
    if mark is not None:
        axes.axvline(mark, color="#999999", linewidth=1, linestyle=":")
    last = float(np.asarray(thresholds)[-1])
    axes.set(xlabel=x_label, ylabel=y_label, xlim=(0, last), ylim=(0, 1))
    axes.set_title(f"{title} of OPE, {evaluation.dataset} ({evaluation.protocol})", fontsize=11)
    axes.set_yticks(np.linspace(0, 1, 11))
    axes.set_xticks(np.linspace(0, last, 11))
    axes.grid(color="#e4e4e4")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower left" if metric == "success_auc" else "lower right", fontsize=9, framealpha=0.9)
    return _svg(figure)


def _dash(rank: int) -> str:
    return _DASHES[rank // len(COLOURS) % len(_DASHES)]


def _closed(values: ArrayLike | Sequence[float]) -> Any:
    array = np.asarray(values)
    return np.append(array, array[0])


def _pyplot() -> Any:
    require("matplotlib", "benchmark").use("Agg")
    pyplot = require("matplotlib.pyplot", "benchmark")
    pyplot.rcParams.update(
        {
            "figure.constrained_layout.use": True,
            "font.family": "DejaVu Sans",
            "svg.fonttype": "path",
            "svg.hashsalt": "tctrack",
        }
    )
    return pyplot


def _svg(figure: Any) -> str:
    """Return a figure as an ``<svg>`` element that scales with the page, and close it."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    _pyplot().close(figure)
    element = text.getvalue()
    element = re.sub(r"<metadata>.*?</metadata>", "", element[element.index("<svg") :], flags=re.DOTALL)
    element = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", element, count=1)
    return re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", element, count=1)
