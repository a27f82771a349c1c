"""Named factories, with errors that suggest the right name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from tctrack.errors import ConfigError, suggest

T = TypeVar("T")


class Registry(Generic[T]):
    """Maps names to factories of one kind of thing (models, trackers, data sets)."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._factories: dict[str, Callable[..., T]] = {}

    def register(self, name: str) -> Callable[[Callable[..., T]], Callable[..., T]]:
        """Return a decorator that files a factory under ``name``.

        Raises:
            ValueError: the name is taken.
        """

        def file(factory: Callable[..., T]) -> Callable[..., T]:
            if name in self._factories:
                raise ValueError(f"{self._kind} '{name}' is registered twice")
            self._factories[name] = factory
            return factory

        return file

    def __getitem__(self, name: str) -> Callable[..., T]:
        try:
            return self._factories[name]
        except KeyError:
            raise ConfigError(f"unknown {self._kind} '{name}'{suggest(name, self._factories)}") from None

    def __contains__(self, name: object) -> bool:
        return name in self._factories

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._factories))
