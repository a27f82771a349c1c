from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import pytest

from tctrack.config import Ascending, Count, Positive, Share, Whole, argument, build, config_root, load_config
from tctrack.errors import ConfigError
from tctrack.models.lite import LiteConfig
from tctrack.models.tctrack import TCTrackConfig
from tctrack.registry import Registry
from tctrack.training.loop import TrainConfig


@dataclass(frozen=True)
class Inner:
    rate: float = 0.1
    sizes: tuple[int, ...] = (1, 2)


@dataclass(frozen=True)
class Outer:
    name: str
    steps: int = 3
    mode: Literal["fast", "slow"] = "fast"
    where: Path | None = None
    inner: Inner = field(default_factory=Inner)
    share: Share = 0.5
    times: Count | None = None
    rate: Positive = 1.0
    range: Annotated[tuple[Whole, Whole], Ascending()] = (0, 1)


def test_files_inherit_and_overrides_win(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("name: base\nsteps: 5\ninner: {rate: 1, sizes: [4]}\n")
    (tmp_path / "child.yaml").write_text("base: base.yaml\nname: child\ninner: {rate: 2}\n")
    found = build(Outer, load_config(tmp_path / "child.yaml", ["inner.sizes=[7, 8]", "where=~/x", "inner.rate=1e-3"]))
    assert found == Outer("child", 5, "fast", Path("~/x").expanduser(), Inner(0.001, (7, 8)))


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"nam": "x"}, "unknown key 'nam'; did you mean 'name'"),
        ({}, "missing key 'name'"),
        ({"name": 3}, "'name' must be str, not 3"),
        ({"name": "x", "steps": True}, "'steps' must be int"),
        ({"name": "x", "steps": 1.5}, "'steps' must be int"),
        ({"name": "x", "mode": "fats"}, "'mode' is 'fats'; did you mean 'fast'"),
        ({"name": "x", "inner": 3}, "'inner' must be a section"),
        ({"name": "x", "inner": {"rat": 1}}, "unknown key 'inner.rat'; did you mean 'rate'"),
        ({"name": "x", "inner": {"sizes": [1, "a"]}}, "'inner.sizes' must be int"),
        ({"name": "x", "share": -0.1}, "share=-0.1 must be at least 0"),
        ({"name": "x", "share": 2}, "share=2.0 must be at most 1"),
        ({"name": "x", "share": float("nan")}, "'share' must be a finite number, not nan"),
        ({"name": "x", "inner": {"rate": "inf"}}, "'inner.rate' must be a finite number, not 'inf'"),
        ({"name": "x", "share": 10**400}, "'share' must be a finite number"),
        ({"name": "x", "times": 0}, "times=0 must be at least 1"),
        ({"name": "x", "times": 10**30}, "must be at most 2147483647"),
        ({"name": "x", "rate": 0}, "rate=0.0 must be above 0"),
        ({"name": "x", "range": [3, 2]}, "range=(3, 2) must be a range"),
        ({"name": "x", "where": "a\0b"}, "'where' must be Path"),
    ],
)
def test_what_does_not_fit_is_named(mapping: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(Outer, mapping)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", "must be a mapping"),
        ("a: [", "not valid YAML"),
        ("base: x.yaml\n", "inherits from itself"),
        ("a: &a [x]\nb: [*a, *a]\n", "aliases and tags are not read"),
        ("a: &a [*a]\n", "aliases and tags are not read"),
        ("a: !!bool x\n", "aliases and tags are not read"),
        ("a: " + "[" * 3000, "nested too deeply"),
        ("? [1, 2]\n: x\n", "not valid YAML"),
        ("a: 0b_\n", "not valid YAML"),
    ],
)
def test_malformed_files_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"x\.yaml") as caught:
        load_config(tmp_path / "x.yaml")
    assert message in str(caught.value)


def test_dates_are_text(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("day: 2024-02-30\nnoon: 2024-02-29 12:00:00\n")
    assert load_config(tmp_path / "x.yaml") == {"day": "2024-02-30", "noon": "2024-02-29 12:00:00"}


@pytest.mark.parametrize("source", ["x" * 300, "x/" * 3000, "", "/", "a\0b"])
def test_odd_paths_are_named(source: str) -> None:
    with pytest.raises(ConfigError, match="configuration"):
        load_config(source)


def test_a_folder_that_may_not_be_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", denied)
    with pytest.raises(ConfigError, match="Permission denied"):
        load_config(tmp_path / "x.yaml")


@pytest.mark.parametrize(("text", "message"), [("0", "0 must be"), ("nan", "no whole number"), ("1.5", "no whole")])
def test_options_have_bounds(text: str, message: str) -> None:
    assert argument(Count)("3") == 3
    with pytest.raises(argparse.ArgumentTypeError, match=message):
        argument(Count)(text)


def test_an_unknown_file_suggests_a_shipped_one() -> None:
    with pytest.raises(ConfigError, match="did you mean 'train/lite'"):
        load_config("train/lit")


def test_an_override_needs_a_section(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds a value, not a section"):
        load_config("train/lite", ["out.folder=x"])


@pytest.mark.parametrize("path", sorted((config_root() / "train").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_training_configuration_builds(path: Path) -> None:
    build(TrainConfig, load_config(path))


@pytest.mark.parametrize("path", sorted((config_root() / "model").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_model_configuration_builds(path: Path) -> None:
    values = load_config(path)
    build(LiteConfig if "trunk" in values else TCTrackConfig, values)


def test_a_registry_suggests_names_and_refuses_a_second_owner() -> None:
    registry: Registry[int] = Registry("number")
    registry.register("three")(lambda: 3)
    assert registry["three"]() == 3
    assert list(registry) == ["three"]
    with pytest.raises(ConfigError, match="unknown number 'tree'; did you mean 'three'"):
        registry["tree"]
    with pytest.raises(ValueError, match="twice"):
        registry.register("three")(lambda: 4)


def test_a_url_is_no_folder() -> None:
    with pytest.raises(ConfigError, match="'out' is a URL") as error:
        build(TrainConfig, {"out": "rtsp://me:secret@127.0.0.1/x"})
    assert "secret" not in str(error.value)
