"""Commands with something wrong in them: a good command of a verb, some of whose words are changed."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import strategies as st

from tctrack.action.localization import LocalizerConfig
from tctrack.action.training import ActionTrainConfig
from tctrack.training.loop import TrainConfig

#: What is no number at all, or none that any option takes.
NO_NUMBERS = ["nan", "inf", "-inf", "1e999", "x", "", "1,2", "0x10", "--", "\N{SNOWMAN}"]
NUMBERS = [*NO_NUMBERS, "0", "-1", "-0.0", "1", "2", "3.5", "1e-320", "1e30", "9" * 30, "9" * 5000, " 1 ", "1_0"]
TEXTS = [
    "", " ", ".", "..", "/", "../../x", "a/b", "x" * 300, "x/" * 3000, "\udcff", "a\udcffb.mp4", "a\nb", "-", "--", "*",
    "[", "{}", "%s", "\N{SNOWMAN}.mp4", "static", "mil", "DTB70", "Car6", "cuda:99", "cpu", "x:y", "os:getcwd",
    "static,label=..", "static,label=a/b", "static,x=1", "static,label", "tctrack-lite,lr=.nan", "json:JSONDecoder",
    "http://127.0.0.1:1/x", "rtsp://me:secret@127.0.0.1:1/x", "file:///nowhere", "nowhere://x", "0,0,0,0", "1,2,3",
    "nan,1,2,3", "1e9,1e9,5,5", "0,0,1e300,1", "-5,-5,9,9", "2,2,5,5", "64x", "99999x99999", "0x0", "64x64",
]  # fmt: skip
VALUES = [
    *NUMBERS, ".nan", ".inf", "-.inf", "null", "true", "[]", "[1]", "[1, 2]", "[2, 1]", "{}", "{a: 1}", "[.nan]",
    "&a [*a]", "*a", "!!binary x", "2024-02-30", "[" * 500, "? x", "'a\\0b'", "\"a\\0b\"", "~nobody/x", "x" * 300,
    "name", "../x", "=",
]  # fmt: skip
#: Where outputs may be sent; ``W`` is the folder of inputs.
PLACES = [
    "o", "o.mp4", "o.json", "o.safetensors", "a/b/c.mp4", "W/a.mp4", "W/bad/link.mp4", "W/frames", "W/bad/pipe",
    "W/bad", "W/bad/loop", "W/a.mp4/x.mp4", "file://W/a.mp4", "W/tiny.safetensors", "W/list.csv",
    "W/results/DTB70/mine/Car6.txt",
]  # fmt: skip


class Case(NamedTuple):
    """A verb's words, and whether they must be refused."""

    verb: str
    words: list[str]
    refused: bool = False


@st.composite
def cases(draw: st.DrawFn, world: Path, good: dict[str, list[str]]) -> Case:
    """Draw a case: one to three changes of a good command."""
    verb = draw(st.sampled_from(sorted(good)))
    words, refused = list(good[verb]), False
    actions = [action for action in _parser(verb)._actions if action.dest != "help"]
    inputs = sorted(f"W{str(path).removeprefix(str(world))}" for path in (*world.glob("*"), *world.glob("bad/*")))
    for _ in range(draw(st.integers(1, 3))):
        action = draw(st.sampled_from(actions))
        if action.dest == "overrides":
            key = draw(st.sampled_from(CONFIGS[verb]))
            words.append(f"{key}={draw(st.sampled_from(VALUES))}")
            continue
        numeric = action.type not in (None, str, Path) and "," not in str(action.metavar)
        if action.nargs == 0:
            words.append(action.option_strings[-1])
            continue
        value = draw(st.sampled_from(NUMBERS if numeric else [*TEXTS, *PLACES, *inputs]))
        value = value.replace("W/", f"{world}/")
        if not action.option_strings:
            words[_place(actions, action)] = value
        else:
            words.append(f"{action.option_strings[-1]}={value}")
            refused |= numeric and value in NO_NUMBERS
    return Case(verb, words, refused)


def _parser(verb: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(verb)
    importlib.import_module(f"tctrack.cli.{verb.replace('-', '_')}").add_arguments(parser)
    return parser


def _place(actions: list[argparse.Action], action: argparse.Action) -> int:
    """Where a good command has a positional argument: they come first."""
    return [each for each in actions if not each.option_strings].index(action)


def _keys(cls: Any, prefix: str = "") -> Iterator[str]:
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        yield f"{prefix}{field.name}"
        for kind in (hints[field.name], *typing.get_args(hints[field.name])):
            if dataclasses.is_dataclass(kind):
                yield from _keys(kind, f"{prefix}{field.name}.")


_MODEL = [f"model.{name}" for name in ("name", "dim", "template_size", "heads", "tracking.lr", "adaptive_blocks", "x")]
#: The keys of every configuration, some of which do not exist.
CONFIGS = {
    "train": [*_keys(TrainConfig), *_MODEL, "x", "", "out.x", "base"],
    "train-action": [*_keys(ActionTrainConfig), "x"],
    "train-localizer": [*_keys(LocalizerConfig), "x"],
}
