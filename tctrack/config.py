"""YAML configuration: ``base:`` inheritance, ``key=value`` overrides, frozen dataclasses.

A configuration is a plain mapping until :func:`build` turns it into a dataclass; a key that the dataclass lacks is an
error that suggests the right one.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from tctrack.errors import ConfigError, suggest

T = TypeVar("T")


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
        ConfigError: an unknown or missing key, or a value of the wrong type; ``where`` is the key path in messages.
    """
    hints = typing.get_type_hints(cls)
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


def _find(source: str | Path) -> Path:
    path = Path(source)
    shipped = config_root() / path
    for candidate in (path, shipped, shipped.with_name(f"{shipped.name}.yaml")):
        if candidate.is_file():
            return candidate
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
    beside = path.parent / str(base)
    parent = beside if beside.is_file() else _find(str(base))
    return _merge(_load(parent, (*seen, path)), mapping)


def parse_yaml(text: str, where: str) -> Any:
    """Parse YAML; ``where`` names it in the error.

    Raises:
        ConfigError: it is malformed.
    """
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{where} is not valid YAML: {' '.join(str(error).split())}") from None


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
    if hint is Path and isinstance(value, str):
        return Path(value).expanduser()
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, type) and isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    if hint is float and isinstance(value, str):  # YAML 1.1 reads 1e-3 as text
        try:
            return float(value)
        except ValueError:
            pass
    raise ConfigError(f"'{where}' must be {getattr(hint, '__name__', hint)}, not {value!r}")
