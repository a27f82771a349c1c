"""Measure where a frame's time goes: stage by stage, with several trackers and engines side by side.

All track the same video and take turns at every frame, so that their ratios hold on a busy machine. Without --source,
a flight of 1280x720 is drawn and compressed first. Times are those of a frame in milliseconds: the mean, by which
stages add up to the total, the median, the slowest in 20 (p95) and in 100 (p99), and the mean change from one frame to
the next (jitter). Of the stages, "crop" predicts the place and cuts the search crop, "choose" picks a box, and "other"
is the rest of the update, or all of it for trackers that do not tell more. Memory is the most that a process of its
own takes.

Examples:
    tctrack profile
    tctrack profile --engine all --html profile.html
    tctrack profile --engine onnx,torch --compare onnx,torch
    tctrack profile --batch 1,2,4,8,16 --json profile.json
    tctrack profile --model tctrack-lite --model nanotrack,weights=nanotrackv2 --source flight.mp4 --box 120,80,40,60
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tctrack.cli.demo import Length, draw_scene
from tctrack.config import Count, Threads, argument
from tctrack.errors import BoxError, CheckpointError, ConfigError, DependencyError, suggest

if TYPE_CHECKING:
    from tctrack.types import Box
    from trackers.profiling import Contender

#: What ``--engine all`` tries.
ALL = ("onnx", "openvino", "torch")
#: Columns of the table.
KEYS = ("mean_ms", "median_ms", "p95_ms", "p99_ms", "jitter_ms")
#: Width in signs of the longest bar in the terminal.
BAR = 32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "--model", action="append", metavar="NAME[,KEY=VALUE…]",
        help="tracker, checkpoint or folder of exported graphs, its options and label=…; may be given again",
    )  # fmt: skip
    parser.add_argument(
        "--engine", default="auto", metavar="NAME,…", help="auto, onnx, torch, compiled, openvino, or all of them"
    )
    parser.add_argument(
        "--batch", type=_batches, default="1", metavar="N,…", help="targets followed at once (default: %(default)s)"
    )
    parser.add_argument(
        "--threads", type=argument(Threads), default=1, metavar="N", help="of the processor (default: %(default)s)"
    )
    parser.add_argument("--source", metavar="VIDEO", help="video file or folder of images, instead of a drawn one")
    parser.add_argument("--box", type=_box, metavar="X,Y,W,H", help="the target in its first frame, in pixels")
    parser.add_argument(
        "--frames", type=argument(Length), default=200, metavar="N", help="that count (default: %(default)s)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with a picture of the frame's time")
    parser.add_argument(
        "--compare", metavar="A,B", help="two of the names in the table: print the ratio of their times"
    )


def run(args: argparse.Namespace) -> int:
    """Measure, print and write."""
    os.environ["OMP_NUM_THREADS"] = str(args.threads)  # read when NumPy and the engines load

    import cv2
    from tqdm import tqdm

    from tctrack.benchmark.speed import render_html
    from tctrack.files import check_outputs, write_texts
    from tctrack.geometry.boxes import check_box
    from tctrack.video import VideoSink, open_source
    from trackers.profiling import WARM_UP, compare, machine, peak, peak_memory, race, shares, summarize

    if args.source is None and args.box is not None:
        raise ConfigError("--box goes with a --source; the drawn video has a box of its own")
    if args.source is not None and args.box is None:
        raise BoxError("--source needs the target's --box X,Y,W,H in its first frame")
    models = args.model or ["tctrack-lite"]
    words = [word.partition("=")[2] or word for text in models for word in text.split(",")]  # some may be files
    check_outputs({"--json": args.json, "--html": args.html}, [args.source, *words])
    box: Sequence[float] = args.box or ()
    cv2.setNumThreads(args.threads)
    contenders, missing = _contenders(models, _engines(args.engine), args.batch, args.threads)
    pair = _pair(args.compare, [one.name for one in contenders])
    length = 1 + WARM_UP + args.frames
    with tempfile.TemporaryDirectory() as folder:
        if args.source is None:
            args.source, box = _draw_flight(Path(folder) / "flight.mp4", length)
        with open_source(args.source, frames=WARM_UP) as source:
            size = source.info.width, source.info.height
            box = check_box(box, size)
            few = list(source)
        memory = [peak_memory(one, few, box) for one in tqdm(contenders, desc="memory", disable=None, leave=False)]
        before = peak()
        tracked = Path(folder) / "tracked.mp4"
        with open_source(args.source, frames=length) as source, VideoSink(tracked, size, source.info.fps) as sink:
            times = race(contenders, source, box, sink)
        best = {name: max(value, before[name]) for name, value in peak().items()}

    report: dict[str, Any] = {
        "machine": {**machine(args.threads), "peak": best},
        "video": {"width": size[0], "height": size[1], "frames": len(times[contenders[0].name]["decode"])},
        "engines": {},
        "missing": missing,
    }
    for one, most in zip(contenders, memory, strict=True):
        parameters, macs = one.size()
        about = {"batch": one.batch, "parameters": parameters, "macs": macs, "peak_memory_mb": most}
        figures = {**about, **summarize(times[one.name])}
        report["engines"][one.name] = {**figures, "share_of_peak": shares(figures, best)}
    if pair:
        report["comparison"] = {"names": pair, **compare(*(times[name] for name in pair))}
    print("\n".join(_lines(report)))
    renderings = ((args.json, lambda report: json.dumps(report, indent=1) + "\n"), (args.html, render_html))
    write_texts({path: render(report) for path, render in renderings if path})
    return 0


def _engines(text: str) -> list[str]:
    from tctrack.engines import ENGINES

    names = dict.fromkeys(name for word in text.split(",") for name in (ALL if word == "all" else (word,)))
    for name in names:
        if name not in ENGINES:
            raise ConfigError(f"unknown engine '{name}'{suggest(name, (*ENGINES, 'all'))}")
    return list(names)


def _contenders(
    models: Sequence[str], engines: Sequence[str], batches: Sequence[int], threads: int
) -> tuple[list[Contender], dict[str, str]]:
    """Build what is compared; return it, and of each engine that is not there, how to get it.

    Names are made of what tells one from the others: the model's label, engine and batch.
    """
    from tctrack.cli.selection import parse_tracker
    from trackers.profiling import Contender
    from trackers.registry import is_network

    found: list[Contender] = []
    missing: dict[str, str] = {}
    for text in models:
        model, *words = text.split(",")
        network = is_network(model)
        for engine in engines if network else [""]:
            extra = [f"engine={engine}", f"threads={threads}"] if network else []
            label, make = parse_tracker(",".join((model, *extra, *words)))
            prefix = [label] if len(models) > 1 or not network else []
            try:
                for batch in batches:
                    one = Contender(make, batch)
                    used = one.engine if engine == "auto" else engine
                    one.name = ":".join(filter(None, [*prefix, used, f"x{batch}" if batch > 1 else ""]))
                    found.append(one)
            except (CheckpointError, ConfigError, DependencyError) as error:
                if len(engines) == 1 or not network:
                    raise
                missing[":".join([*prefix, engine])] = str(error)
    if not found:
        raise ConfigError("; ".join(missing.values()))
    names = [one.name for one in found]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"two are called '{name}'; leave one out, or give a model ,label=NAME")
    if set(ALL) <= set(engines) and "compiled" not in engines:
        missing["compiled"] = "takes a minute to compile; ask for it with --engine all,compiled"
    return found, missing


def _batches(text: str) -> list[int]:
    return [argument(Count)(number) for number in text.split(",")]


def _box(text: str) -> list[float]:
    try:
        return [float(number) for number in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' must be four numbers x,y,w,h in pixels") from None


def _pair(text: str | None, names: Sequence[str]) -> tuple[str, ...]:
    """Return the two names that ``--compare`` asks for."""
    if text is None:
        return ()
    pair = tuple(text.split(","))
    if len(pair) != 2:
        raise ConfigError(f"--compare '{text}' must be two of: {', '.join(names)}")
    for name in pair:
        if name not in names:
            raise ConfigError(f"--compare: '{name}' is not measured{suggest(name, names)}")
    return pair


def _draw_flight(path: Path, frames: int) -> tuple[str, Box]:
    """Write an aerial clip; return its path, and the target's box in the first frame."""
    from tctrack.video import VideoSink

    size = 1280, 720
    scene = draw_scene(2, frames, size)
    with VideoSink(path, size) as clip:
        for t in range(frames):
            clip.write(scene.render(t, size))
    return str(path), scene.box(0)


def _lines(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of the table."""
    machine, video, engines = report["machine"], report["video"], report["engines"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    yield f"{machine['processor']}, {machine['cores']} cores, GPU: {machine['gpu'] or 'none'}; {machine['system']}"
    yield f"threads: {machine['threads']}; {versions}"
    yield "peak: product {product_gflops:.0f} GFLOP/s, copy {copy_gb_s:.1f} GB/s".format(**machine["peak"])
    yield f"{video['frames']} frames of {video['width']}x{video['height']}; milliseconds"
    width = max(map(len, ("  network", *engines)))
    longest = max(figures["total"]["mean_ms"] for figures in engines.values())
    for name, figures in engines.items():
        yield ""
        yield f"{name:{width}} {'mean':>9}{'median':>9}{'p95':>9}{'p99':>9}{'jitter':>9}   {_about(figures)}"
        for stage, times in (*figures["stages"].items(), ("update", figures["update"]), ("total", figures["total"])):
            row = "".join(f"{times[key]:9.2f}" for key in KEYS)
            yield f"  {stage:{width - 2}} {row}   {'█' * round(BAR * times['mean_ms'] / longest)}".rstrip()
    if "comparison" in report:
        ratio = report["comparison"]
        yield ""
        yield "{} takes {median:.3f} of the time of {} ({p5:.3f} to {p95:.3f} in 90 % of the frames)".format(
            *ratio["names"], **ratio
        )
    if report["missing"]:
        yield ""
    for name, way in report["missing"].items():
        yield f"not measured: {name}: {way}"


def _about(figures: Mapping[str, Any]) -> str:
    fps, share = figures["fps"], figures["share_of_peak"]
    parts = [
        f"{fps['without_decoding']:.1f} FPS, {fps['with_decoding']:.1f} with decoding",
        f"{figures['peak_memory_mb']:.0f} MB",
    ]
    if figures["parameters"]:
        parts.append(f"{figures['parameters'] / 1e6:.2f} M parameters, {figures['macs'] / 1e6:.0f} MMAC")
    if share:
        parts.append(f"{share['product']:.0%} of the peak's product, {share['copy']:.0%} of its copy")
    return "; ".join(parts)
