"""YAML configuration: ``base:`` inheritance, ``key=value`` overrides, frozen dataclasses.

A configuration is a plain mapping until :func:`build` turns it into a dataclass; a key that the dataclass lacks is an
error that suggests the right one. What a number may be stands in the type of its field: ``steps: Count = 6000``.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml

from tctrack.errors import ConfigError, suggest

T = TypeVar("T")


@dataclass(frozen=True)
class Bounds:
    """What a number may be, as an annotation of its type: at least ``low`` (or ``above`` it), at most ``high``."""

    low: float = -math.inf
    high: float = math.inf
    above: bool = False

    def fault(self, value: float) -> str:
        """Say what is wrong with a number; nothing when it is finite and within the bounds."""
        if isinstance(value, float) and not math.isfinite(value):
            return "must be finite"
        if value < self.low or (self.above and value == self.low):
            return f"must be {'above' if self.above else 'at least'} {self.low:.10g}"
        return f"must be at most {self.high:.10g}" if value > self.high else ""


@dataclass(frozen=True)
class Ascending:
    """Marks a pair as a range: its first number is not above the second."""

    def fault(self, value: Sequence[float]) -> str:
        """Say what is wrong with a pair."""
        return "" if value[0] <= value[1] else "must be a range, lowest and highest"


_MOST = 2**31 - 1
#: Whole numbers from 1 on, and from 0 on.
Count = Annotated[int, Bounds(1, _MOST)]
Whole = Annotated[int, Bounds(0, _MOST)]
#: Processes beside this one, and threads.
Workers = Annotated[int, Bounds(0, 1024)]
Threads = Annotated[int, Bounds(1, 1024)]
#: Pixels along a side, channels, and the like, of which one needs memory for the square.
Side = Annotated[int, Bounds(1, 8192)]
Positive = Annotated[float, Bounds(0, above=True)]
Amount = Annotated[float, Bounds(0)]
Share = Annotated[float, Bounds(0, 1)]
#: Learning rates, and their factors: optimisers compute in float32.
LearningRate = Annotated[float, Bounds(0, 1000, above=True)]
Factor = Annotated[float, Bounds(0, 1000)]
#: Frames a second.
Rate = Annotated[float, Bounds(0, 1000, above=True)]


def config_root() -> Path:
    """Return the folder of the shipped configurations (in an installed package or in a checkout)."""
    here = Path(__file__).resolve().parent
    installed = here / "configs"
    return installed if installed.is_dir() else here.parent / "configs"


def load_config(source: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Read a YAML file, merge it over its ``base``, and apply ``key=value`` overrides.

    Args:
        source: a file, or the name of a shipped configuration such as ``train/lite`` (with or without ``.yaml``).
        overrides: ``"data.root=/x"`` strings; the value is parsed as YAML.

    Raises:
        ConfigError: the file is missing or malformed, its bases form a circle, or an override has no ``=``.
    """
    mapping = _load(_find(source), ())
    for item in overrides:
        key, separator, value = item.partition("=")
        if not separator or not key:
            raise ConfigError(f"override '{item}' must look like key=value")
        _assign(mapping, key.split("."), parse_yaml(value, f"override '{item}'"), item)
    return mapping


def build(cls: type[T], mapping: Mapping[str, Any], where: str = "") -> T:
    """Build a (nested, frozen) dataclass from a mapping.

    Raises:
        ConfigError: an unknown or missing key, a value of the wrong type, or a number that is not finite or out of its
            bounds; ``where`` is the key path in messages.
    """
    hints = typing.get_type_hints(cls, include_extras=True)
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in mapping:
        if key not in fields:
            raise ConfigError(f"unknown key '{where}{key}'{suggest(str(key), fields)}")
    values = {key: _convert(hints[key], value, f"{where}{key}") for key, value in mapping.items()}
    missing = [
        name
        for name, field in fields.items()
        if name not in values and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ConfigError(f"missing key '{where}{missing[0]}'; set it in the file or with {where}{missing[0]}=VALUE")
    return cls(**values)


def argument(hint: Any) -> Callable[[str], Any]:
    """Return the ``type`` of an option of argparse: a number such as :data:`Count`."""
    kind, bounds = typing.get_args(hint)

    def convert(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"'{text}' is no {'whole ' if kind is int else ''}number") from None
        if fault := bounds.fault(value):
            raise argparse.ArgumentTypeError(f"{text} {fault}")
        return value

    return convert


def _find(source: str | Path) -> Path:
    path = Path(source)
    shipped = config_root() / path
    try:
        for candidate in (path, shipped, shipped.with_name(f"{shipped.name}.yaml")):
            if candidate.is_file():
                return candidate
    except (OSError, ValueError) as error:  # may not be looked into, too long, or without a name
        raise ConfigError(f"cannot read configuration '{source}': {error}") from None
    names = [str(found.relative_to(config_root()).with_suffix("")) for found in config_root().rglob("*.yaml")]
    raise ConfigError(f"no configuration '{source}'{suggest(str(source), names)}")


def _load(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    path = path.resolve()
    if path in seen:
        raise ConfigError(f"configuration {path} inherits from itself")
    try:
        mapping = parse_yaml(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read configuration {path}: {error}") from None
    if mapping is None:
        mapping = {}
    if not isinstance(mapping, dict):
        raise ConfigError(f"configuration {path} must be a mapping of keys to values")
    base = mapping.pop("base", None)
    if base is None:
        return mapping
    try:
        parent = _find(path.parent / str(base))
    except ConfigError:
        parent = _find(str(base))
    return _merge(_load(parent, (*seen, path)), mapping)


def parse_yaml(text: str, where: str) -> Any:
    """Parse YAML of plain values, in which dates are text; ``where`` names it in the error.

    Raises:
        ConfigError: it is malformed, nested too deeply, or holds aliases or tags.
    """
    try:
        return yaml.load(text, _PlainLoader)
    except RecursionError:
        raise ConfigError(f"{where} is nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{where} is not valid YAML: {' '.join(str(error).split())}") from None


class _PlainLoader(yaml.SafeLoader):
    """Takes no aliases, a few of which exhaust the memory, and no tags, which call for other than plain values."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None):
            raise yaml.MarkedYAMLError(problem="aliases and tags are not read", problem_mark=event.start_mark)
        return super().compose_node(parent, index)


_PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _merge(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _assign(mapping: dict[str, Any], keys: list[str], value: Any, item: str) -> None:
    for key in keys[:-1]:
        mapping = mapping.setdefault(key, {})
        if not isinstance(mapping, dict):
            raise ConfigError(f"override '{item}': '{key}' holds a value, not a section")
    mapping[keys[-1]] = value


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin is Annotated:
        found, (limit,) = _convert(arguments[0], value, where), hint.__metadata__
        if fault := limit.fault(found):
            raise ConfigError(f"{where}={found} {fault}")
        return found
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        errors = []
        for option in arguments:
            if option is not type(None):
                try:
                    return _convert(option, value, where)
                except ConfigError as error:
                    errors.append(error)
        raise errors[0] if errors else ConfigError(f"'{where}' must be empty")
    if origin is typing.Literal:
        if value in arguments:
            return value
        raise ConfigError(f"'{where}' is {value!r}{suggest(str(value), map(str, arguments))}")
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if isinstance(value, Mapping):
            return build(hint, value, f"{where}.")
        raise ConfigError(f"'{where}' must be a section of keys, not {value!r}")
    if origin is tuple and isinstance(value, Sequence) and not isinstance(value, str):
        variadic = len(arguments) == 2 and arguments[1] is Ellipsis
        if not variadic and len(arguments) != len(value):
            raise ConfigError(f"'{where}' must have {len(arguments)} values, not {len(value)}")
        kinds = (arguments[0],) * len(value) if variadic else arguments
        return tuple(_convert(kind, item, where) for kind, item in zip(kinds, value, strict=True))
    if origin is dict and isinstance(value, Mapping):
        return {str(key): _convert(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if hint is Path and isinstance(value, str) and "://" in value:
        raise ConfigError(f"'{where}' is a URL, where a file or folder is asked for")
    if hint is Path and isinstance(value, str) and "\0" not in value:
        try:
            return Path(value).expanduser()
        except RuntimeError as error:
            raise ConfigError(f"'{where}': {error}") from None
    if hint is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            number = float(value)  # YAML 1.1 reads 1e-3 as text
        except (ValueError, OverflowError):
            number = math.nan
        if math.isfinite(number):
            return number
        raise ConfigError(f"'{where}' must be a finite number, not {value!r}")
    if isinstance(hint, type) and isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    raise ConfigError(f"'{where}' must be {getattr(hint, '__name__', hint)}, not {value!r}")
