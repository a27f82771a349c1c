"""Export a tracking network as graphs for other engines: ONNX, OpenVINO, TorchScript or torch.export.

Writes two graphs into a folder: `start` (template crop, first search crop, the target's extent → state) and `step`
(search crop, state → boxes, scores, what changes of the state). Crops are (B, S, S, 3) uint8 BGR, as the tracker cuts
them; sizes and the tracker's settings are inside. `track`, `test` and `profile` take the folder as their --model.

TensorRT reads the ONNX graphs: trtexec --onnx=FOLDER/step.onnx --saveEngine=step.engine, or --device tensorrt with
onnxruntime-gpu.

Examples:
    tctrack export --model tctrack-lite --out lite-onnx
    tctrack export --model tctrack.safetensors --format openvino --out tctrack-openvino
    tctrack export --model tctrack-lite --precision int8 --calibrate flight.mp4 --box 120,80,40,60 --out lite-int8
    tctrack track flight.mp4 --box 120,80,40,60 --model lite-onnx
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tctrack.config import Threads, argument

#: Frames of the video that calibrate int8.
CALIBRATION = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("--model", default="tctrack-lite", metavar="NAME|FILE", help="network (default: %(default)s)")
    parser.add_argument("--weights", metavar="FILE", help="the network's weights, if not the shipped ones")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the graphs")
    parser.add_argument("--format", choices=("onnx", "openvino", "torchscript", "pt2"), default="onnx")
    parser.add_argument("--precision", choices=("fp32", "fp16", "int8"), default="fp32", help="(default: %(default)s)")
    parser.add_argument(
        "--batch", default="auto", metavar="N|dynamic", help="targets at once (default: any, where the network can)"
    )
    parser.add_argument("--calibrate", metavar="VIDEO", help="video that int8 is calibrated on")
    parser.add_argument("--box", metavar="X,Y,W,H", help="the target in its first frame")


def run(args: argparse.Namespace) -> int:
    """Export, and say how far the graphs are from the network."""
    import numpy as np
    import torch

    from tctrack.checkpoint.load import load_network
    from tctrack.engines import load_engine
    from tctrack.engines.torch import TorchEngine
    from tctrack.errors import ConfigError, SourceError
    from tctrack.export import export_model
    from tctrack.files import check_outputs
    from tctrack.ops.fold import fold_batch_norms

    if (args.precision == "int8") != bool(args.calibrate and args.box):
        raise ConfigError("--precision int8 needs --calibrate VIDEO and --box X,Y,W,H; other precisions take neither")
    check_outputs({"--out": args.out}, (args.model, args.weights, args.calibrate))
    name, loaded = load_network(args.model, args.weights)
    network = fold_batch_norms(loaded)
    reference = TorchEngine(network, name)
    batch = _parse_batch(args.batch, network.any_batch)
    recorded = _record(reference, args.calibrate, args.box) if args.calibrate else []
    if args.calibrate and not recorded:
        raise SourceError(f"--calibrate {args.calibrate}: one frame is too few")
    export_model(network, name, args.out, args.format, args.precision, batch, recorded)
    exported = load_engine(args.out)
    print(f"wrote {args.out}: start and step of {name}, {'any number of' if batch is None else batch} targets at once")
    gaps = []
    for search, *state in recorded:
        expected, known, _ = reference.step(search, tuple(map(torch.from_numpy, state)))
        boxes, scores, _ = exported.step(search, tuple(state))
        best = known[0].argmax()
        gaps.append((np.abs(boxes - expected)[0, best].max(), np.abs(scores - known)[0, best]))
    if gaps:
        box, score = np.median(gaps, 0)
        print(f"int8 against fp32 on {len(gaps)} frames: box {box:.2f} search pixels, score {score:.3f} (medians)")
    return 0


def _parse_batch(text: str, any_batch: bool) -> int | None:
    from tctrack.errors import ConfigError

    if text == "auto":
        return None if any_batch else 1
    if text == "dynamic":
        if any_batch:
            return None
        raise ConfigError("--batch dynamic is not for this network, whose correlation fixes the number; give one")
    try:
        return int(argument(Threads)(text))
    except argparse.ArgumentTypeError as error:
        raise ConfigError(f"--batch {error}; give a number of targets, or dynamic") from None


def _record(engine: Any, video: str, box: str) -> list[tuple[Any, ...]]:
    """Track in a video; return what the network's step took in: a search crop and the arrays of a state."""
    from tctrack.geometry.boxes import parse_box
    from tctrack.video import open_source
    from trackers.siamese import SiameseTracker

    inputs = []
    tracker = SiameseTracker(engine)
    step = engine.step
    with open_source(video, frames=CALIBRATION) as source:
        frames = iter(source)
        tracker.init(next(frames), parse_box(box))

        def recording(search: Any, state: Any) -> Any:
            inputs.append((search, *(tensor.numpy() for tensor in state)))
            return step(search, state)

        engine.step = recording
        for frame in frames:
            tracker.update(frame)
    engine.step = step
    return inputs
