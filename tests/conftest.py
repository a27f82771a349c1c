"""Fixtures that several test modules share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tctrack.scenes.synthetic import Assets


@pytest.fixture(scope="module")
def few_objects() -> Iterator[None]:
    """Paint few objects, once, where scenes of painted objects are asked for."""
    painted = Assets.procedural(0, grounds=1, sprites=6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Assets, "procedural", lambda *_, **__: painted)
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """The research data folder beside the project; tests that need it skip where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("the research data folder ../shared is not here")
    return folder
