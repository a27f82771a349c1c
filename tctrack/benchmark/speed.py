"""The page of ``tctrack profile``: a picture of a frame's time and the tables, with nothing outside the file."""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from string import Template
from typing import Any

#: Colours of the stages; those around the update are grey.
COLOURS = {
    "decode": "#8d99a6",
    "motion": "#e3a23b",
    "crop": "#5aa469",
    "network": "#0a6e8a",
    "choose": "#9b5fb0",
    "other": "#d0605e",
    "draw": "#b4bdc6",
    "write": "#d3d9df",
}
#: Of the picture, in its own units: width, what names take of it, height of a row.
WIDTH, LABELS, ROW = 1100, 200, 34
#: Most lines of the picture's scale.
LINES = 8


def render_html(report: Mapping[str, Any]) -> str:
    """Return the page of what ``tctrack profile --json`` writes."""
    template = importlib.resources.files("tctrack.benchmark").joinpath("speed.html").read_text(encoding="utf-8")
    machine, video, engines = report["machine"], report["video"], report["engines"]
    peak = "peak of a product {product_gflops:.0f} GFLOP/s, of a copy {copy_gb_s:.1f} GB/s".format(**machine["peak"])
    about = [machine["processor"], f"{machine['cores']} cores", f"threads: {machine['threads']}"]
    shown = {stage for figures in engines.values() for stage in figures["stages"]}
    keys = "".join(f'<span class="key" style="--c:{COLOURS[name]}">{name}</span>' for name in COLOURS if name in shown)
    return Template(template).substitute(
        machine=escape(", ".join([*about, f"GPU: {machine['gpu'] or 'none'}", machine["system"]])),
        versions=escape(", ".join(f"{name} {version}" for name, version in machine["versions"].items())),
        video=escape(f"{video['frames']} frames of {video['width']}×{video['height']}; {peak}"),
        picture=_picture(engines),
        keys=f'<p class="keys">{keys}</p>',
        comparison=_comparison(report.get("comparison")),
        summary=_summary(engines),
        missing="".join(_note(f"Not measured: {name}: {way}") for name, way in report["missing"].items()),
        stages="".join(_stages(name, figures) for name, figures in engines.items()),
        version=escape(machine["versions"]["tctrack"]),
    )


def _picture(engines: Mapping[str, Any]) -> str:
    """Draw a stacked bar for each."""
    longest = max(figures["total"][key] for figures in engines.values() for key in ("mean_ms", "p99_ms"))
    unit = (WIDTH - LABELS - 70) / longest  # the last 70 are for the number behind the bar
    step = next(s * 10**e for e in range(-3, 9) for s in (1, 2, 5) if longest / (s * 10**e) <= LINES)
    bottom = ROW * len(engines) + 8
    shapes = []
    for tick in range(int(longest / step) + 1):
        x = LABELS + tick * step * unit
        shapes.append(f'<line x1="{x:.1f}" y1="0" x2="{x:.1f}" y2="{bottom}"/>')
        shapes.append(f'<text class="soft" x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{tick * step:g}</text>')
    for row, (name, figures) in enumerate(engines.items()):
        top, x = row * ROW + 6, float(LABELS)
        middle = top + (ROW - 10) / 2
        shapes.append(f'<text x="{LABELS - 10}" y="{middle + 5}" text-anchor="end">{escape(name)}</text>')
        late = LABELS + figures["total"]["p99_ms"] * unit
        shapes.append(f'<line class="late" x1="{x:.1f}" y1="{middle}" x2="{late:.1f}" y2="{middle}"/>')
        shapes.append(f'<line class="late" x1="{late:.1f}" y1="{middle - 5}" x2="{late:.1f}" y2="{middle + 5}"/>')
        for stage, times in figures["stages"].items():
            wide = times["mean_ms"] * unit
            said = f"<title>{escape(name)}, {stage}: {times['mean_ms']:.2f} ms</title>"
            box = f'x="{x:.1f}" y="{top}" width="{wide:.1f}" height="{ROW - 10}" fill="{COLOURS[stage]}"'
            shapes.append(f"<rect {box}>{said}</rect>")
            x += wide
        end = max(late, x) + 8
        shapes.append(f'<text x="{end:.1f}" y="{middle + 5}">{figures["total"]["mean_ms"]:.1f} ms</text>')
    return f'<svg viewBox="0 0 {WIDTH} {bottom + 22}" role="img">{"".join(shapes)}</svg>'


def _comparison(ratio: Mapping[str, Any] | None) -> str:
    if ratio is None:
        return ""
    first, second = ratio["names"]
    spread = f"{ratio['p5']:.3f} to {ratio['p95']:.3f} in 90 % of the frames"
    return _note(f"An update by {first} takes {ratio['median']:.3f} of the time of {second}: {spread}.")


def _summary(engines: Mapping[str, Any]) -> str:
    head = ("", "update, ms", "p99", "a target", "FPS", "with decoding", "memory, MB", "parameters", "MMAC")
    rows = []
    for name, figures in engines.items():
        update, fps, share = figures["update"], figures["fps"], figures["share_of_peak"]
        parameters = f"{figures['parameters'] / 1e6:.2f} M" if figures["parameters"] else "–"
        macs = f"{figures['macs'] / 1e6:.0f}" if figures["macs"] else "–"
        cells = [
            *(name, f"{update['median_ms']:.2f}", f"{update['p99_ms']:.2f}"),
            f"{update['median_ms'] / figures['batch']:.2f}",
            *(f"{fps['without_decoding']:.1f}", f"{fps['with_decoding']:.1f}", f"{figures['peak_memory_mb']:.0f}"),
            *(parameters, macs, *(f"{share[key]:.0%}" if share else "–" for key in ("product", "copy"))),
        ]
        rows.append(("", cells))
    return _table((*head, "of the product", "of the copy"), rows)


def _stages(name: str, figures: Mapping[str, Any]) -> str:
    keys = ("mean_ms", "median_ms", "p95_ms", "p99_ms", "jitter_ms")
    sums = {"update": figures["update"], "total": figures["total"]}
    rows = [
        ("sum" if stage in sums else "", [stage, *(f"{times[key]:.2f}" for key in keys)])
        for stage, times in {**figures["stages"], **sums}.items()
    ]
    return _table((name, "mean", "median", "p95", "p99", "jitter"), rows)


def _table(head: Iterable[str], rows: Iterable[tuple[str, Sequence[str]]]) -> str:
    top = "".join(f"<th>{escape(title)}</th>" for title in head)
    body = "".join(
        f'<tr class="{kind}">{"".join(f"<td>{escape(cell)}</td>" for cell in cells)}</tr>' for kind, cells in rows
    )
    return f"<div><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"


def _note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'
