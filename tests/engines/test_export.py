"""Exported graphs: parity with torch over a stream, on every engine; what the files say; what cannot be exported."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tctrack.checkpoint.load import load_model
from tctrack.cli import main
from tctrack.engines import Engine, load_engine
from tctrack.engines.base import ModelInfo
from tctrack.engines.load import SHIPPED
from tctrack.engines.torch import TorchEngine, count
from tctrack.errors import CheckpointError, ConfigError
from tctrack.export import Format, export_model
from tctrack.models.base import TrackingModel
from tctrack.models.lite import LiteConfig, TCTrackLite
from tctrack.ops.fold import fold_batch_norms
from tests.clips import square_box, square_frames, write_video
from tests.published import tiny_model
from trackers.siamese import SiameseTracker

STEPS = 50
FORMATS: tuple[Format, ...] = ("onnx", "openvino", "torchscript", "pt2")


def small_lite() -> TrackingModel:
    """A network of tctrack-lite's form, small, with calibrations that do something."""
    import torch

    torch.manual_seed(0)
    model = TCTrackLite(LiteConfig(template_size=64, search_size=128, dim=32, tower_depth=1)).eval()
    for name, parameter in model.named_parameters():
        if "temporalconv" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    return fold_batch_norms(model).requires_grad_(False)


#: Exports a network once; returns it and the folder.
Exported = Callable[[str, Format], tuple[TrackingModel, Path]]
NETWORKS: dict[str, Callable[[], TrackingModel]] = {
    "tctrack-lite": small_lite,
    "tctrack": lambda: tiny_model("tctrack"),
    "tctrack++": lambda: tiny_model("tctrack++"),
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    made: dict[tuple[str, Format], tuple[TrackingModel, Path]] = {}

    def export(name: str, format: Format) -> tuple[TrackingModel, Path]:
        if (name, format) not in made:
            pytest.importorskip({"onnx": "onnxscript", "openvino": "openvino"}.get(format, "torch"))
            model, folder = NETWORKS[name](), tmp_path_factory.mktemp(format)
            export_model(model, name, folder, format, batch=None if model.any_batch else 1)
            made[name, format] = model, folder
        return made[name, format]

    return export


def about(model: TrackingModel, name: str) -> ModelInfo:
    parameters, macs = count(model)
    return dataclasses.replace(TorchEngine(model, name).info, parameters=parameters, macs=macs)


def stream(engine: Engine, batch: int, steps: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Feed an engine its own state over random crops."""
    rng = np.random.default_rng(0)

    def crops(side: int) -> np.ndarray:
        return rng.integers(0, 256, (batch, side, side, 3), np.uint8)

    info = engine.info
    extent = rng.uniform(20, 40, (batch, 2)).astype(np.float32)
    state = engine.start(crops(info.template_size), crops(info.search_size), extent)
    found = []
    for _ in range(steps):
        boxes, scores, state = engine.step(crops(info.search_size), state)
        found.append((boxes, scores))
    return found


@pytest.mark.parametrize(
    ("name", "format"),
    [
        ("tctrack-lite", "onnx"),
        *(pytest.param("tctrack-lite", format, marks=pytest.mark.slow) for format in FORMATS[1:]),
        pytest.param("tctrack", "onnx", marks=pytest.mark.slow),
        pytest.param("tctrack", "torchscript", marks=pytest.mark.slow),
        pytest.param("tctrack++", "onnx", marks=pytest.mark.slow),
    ],
)
def test_a_graph_computes_what_the_network_does(name: str, format: Format, exported: Exported) -> None:
    model, folder = exported(name, format)
    engine = load_engine(folder)
    assert engine.info == about(model, name)
    together = stream(engine, 4, STEPS if format == "onnx" else 5)
    for (boxes, scores), (expected, known) in zip(together, stream(TorchEngine(model), 4, len(together)), strict=True):
        rounding = 1e-4 if name == "tctrack-lite" else 1e-3  # atanh magnifies that of edges near the crop's
        assert np.abs(boxes - expected).max() <= rounding * np.abs(expected).max()
        assert np.abs(scores - known).max() <= 1e-4 * np.abs(known).max()


@pytest.mark.gpu
@pytest.mark.parametrize(("device", "provider"), [("cuda", "CUDA"), ("tensorrt", "Tensorrt")])
def test_a_gpu_computes_what_the_network_does(device: str, provider: str, exported: Exported) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    if f"{provider}ExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip(f"this ONNX Runtime has no {provider}; pip install onnxruntime-gpu")
    model, folder = exported("tctrack-lite", "onnx")
    for batch in (1, 4):
        found = stream(load_engine(folder, device=device), batch, STEPS)
        for (boxes, scores), (expected, known) in zip(found, stream(TorchEngine(model), batch, STEPS), strict=True):
            # By default these engines multiply with 10 bits of mantissa (TF32).
            assert np.abs(boxes - expected).max() <= 1e-2 * np.abs(expected).max()
            assert np.abs(scores - known).max() <= 1e-2


def test_openvino_reads_onnx(exported: Exported) -> None:
    pytest.importorskip("openvino")
    model, folder = exported("tctrack-lite", "onnx")
    for found, expected in zip(
        stream(load_engine(folder, engine="openvino"), 1, 5), stream(TorchEngine(model), 1, 5), strict=True
    ):
        np.testing.assert_allclose(found[0], expected[0], atol=1e-4 * np.abs(expected[0]).max())


def test_boxes_of_one_target_and_of_four(exported: Exported) -> None:
    model, folder = exported("tctrack-lite", "onnx")
    first, *frames = square_frames(6)
    trackers = [SiameseTracker(engine) for engine in (load_engine(folder), TorchEngine(model))]
    states = [[tracker.start(first, square_box(0))] * 4 for tracker in trackers]
    alone = states[0][0]
    for frame in frames:
        found, expected = (tracker.step_many(frame, state) for tracker, state in zip(trackers, states, strict=True))
        states = [[state for _, state in pairs] for pairs in (found, expected)]
        one, alone = trackers[0].step(frame, alone)
        for (result, _), (known, _) in zip(found, expected, strict=True):
            assert result.box == pytest.approx(known.box, abs=0.1)
            assert result.box == pytest.approx(one.box, abs=0.1)


@pytest.mark.parametrize("name", ["tctrack-lite", "tctrack-nano"])
def test_the_shipped_graph_is_the_weights(name: str) -> None:
    reference = TorchEngine(fold_batch_norms(load_model(name)), name)
    graph = load_engine(name)
    assert graph.name == "onnx"
    assert graph.info == about(reference.model, name)
    for (boxes, scores), (expected, known) in zip(stream(graph, 2, 4), stream(reference, 2, 4), strict=True):
        np.testing.assert_allclose(boxes, expected, atol=1e-4 * np.abs(expected).max())
        np.testing.assert_allclose(scores, known, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["tctrack-lite", "tctrack-nano"])
def test_the_shipped_graph_is_the_export_of_the_weights(model: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    assert main(["export", "--model", model, "--out", str(tmp_path / "again")]) == 0
    for name in ("start.onnx", "step.onnx"):
        assert (tmp_path / "again" / name).read_bytes() == (SHIPPED / model / name).read_bytes()


def test_a_damaged_graph(tmp_path: Path, exported: Exported) -> None:
    _, folder = exported("tctrack-lite", "onnx")
    for name in ("start.onnx", "step.onnx"):
        (tmp_path / name).write_bytes((folder / name).read_bytes()[:5000])
    with pytest.raises(CheckpointError, match="ONNX Runtime cannot read"):
        load_engine(tmp_path)


def test_what_cannot_be_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="--precision fp16 is for --format onnx"):
        export_model(tiny_model("tctrack"), "tctrack", tmp_path, "openvino", "fp16")
    assert main(["export", "--precision", "int8", "--out", str(tmp_path)]) == 2
    assert "needs --calibrate" in capsys.readouterr().err
    for batch in ("none", "9" * 30):
        assert main(["export", "--batch", batch, "--out", str(tmp_path)]) == 2
        assert "give a number of targets" in capsys.readouterr().err
    calibration = ["--calibrate", str(write_video(tmp_path / "one.mp4", 1)), "--box", "20,40,24,24"]
    assert main(["export", "--precision", "int8", *calibration, "--out", str(tmp_path)]) == 2
    assert "one frame is too few" in capsys.readouterr().err


@pytest.mark.slow
def test_int8_is_calibrated_from_a_video(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxscript")
    video, out = write_video(tmp_path / "clip.mp4", 12), tmp_path / "int8"
    box = ",".join(map(str, square_box(0)))
    options = ["--precision", "int8", "--calibrate", str(video), "--box", box]
    assert main(["export", "--out", str(out), *options]) == 0
    assert "int8 against fp32 on 11 frames" in capsys.readouterr().out
    assert main(["track", str(video), "--box", box, "--model", str(out), "--boxes", str(tmp_path / "b.txt")]) == 0
