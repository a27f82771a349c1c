from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from tctrack.errors import ConfigError
from tctrack.geometry.boxes import iou
from tctrack.scenes.lookalikes import KINDS, TARGET_SIZE, LookalikeScene, make_exit_scene, make_lookalike_scene
from tctrack.scenes.synthetic import Assets, Scene, Sprite
from tctrack.types import FloatArray

SIZE, LENGTH, SEEDS = (320, 240), 60, range(6)


@pytest.fixture(scope="module")
def assets() -> Assets:
    return Assets.procedural(1, grounds=1, sprites=8)


def make(assets: Assets, kind: str, seed: int) -> LookalikeScene:
    return make_lookalike_scene(np.random.default_rng(seed), assets, kind, LENGTH, SIZE)


def boxes(scene: Scene, index: int) -> FloatArray:
    return np.array([scene.box(t, index) for t in range(len(scene))])


def centres(scene: Scene, index: int) -> FloatArray:
    found = boxes(scene, index)
    return found[:, :2] + found[:, 2:] / 2


def gaps(made: LookalikeScene) -> FloatArray:
    """Distances of the look-alikes from the target, in target sizes ``(N, T)``."""
    target = made.scene.target
    size = np.sqrt(boxes(made.scene, target)[:, 2:].prod(1))
    middle = centres(made.scene, target)
    return np.array([np.linalg.norm(centres(made.scene, i) - middle, axis=1) / size for i in made.lookalikes])


def colour_distance(first: Sprite, second: Sprite) -> float:
    """Earth mover's distance between the colour histograms of two objects, in grey levels, the mean over channels."""
    shares = np.linspace(0, 1, 101)
    curves = [np.quantile(sprite[sprite[..., 3] > 127][:, :3], shares, axis=0) for sprite in (first, second)]
    return float(np.abs(curves[0] - curves[1]).mean())


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_draws_the_same_scene(assets: Assets, kind: str) -> None:
    first, second, other = (make(assets, kind, seed).scene for seed in (3, 3, 4))
    for t in (0, LENGTH // 2, LENGTH - 1):
        np.testing.assert_array_equal(first.render(t, SIZE), second.render(t, SIZE))
    np.testing.assert_array_equal(boxes(first, first.target), boxes(second, second.target))
    assert first.box(0) != other.box(0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_target_stays_in_the_frame(assets: Assets, kind: str) -> None:
    for seed in SEEDS:
        scene = make(assets, kind, seed).scene
        middle = centres(scene, scene.target)
        assert (middle > 0).all()
        assert (middle < SIZE).all()
        size = np.sqrt(np.prod(scene.actors[scene.target].size[0]))
        assert TARGET_SIZE[0] <= size <= TARGET_SIZE[1]


@pytest.mark.parametrize("kind", KINDS)
def test_lookalikes_look_alike(assets: Assets, kind: str) -> None:
    others = [colour_distance(first, second) for first, second in itertools.combinations(assets.sprites, 2)]
    for seed in SEEDS:
        scene, lookalikes = make(assets, kind, seed)
        target = scene.actors[scene.target]
        assert lookalikes
        for index in lookalikes:
            actor = scene.actors[index]
            assert 0 < colour_distance(actor.sprite, target.sprite) < np.median(others) / 2
            np.testing.assert_allclose(actor.size / target.size, 1, atol=0.07)


def test_crossing_paths_cross(assets: Assets) -> None:
    for seed in SEEDS:
        for gap in gaps(make(assets, "crossing", seed)):
            assert gap.min() < 0.6
            assert 0.25 * LENGTH < gap.argmin() < 0.85 * LENGTH
            assert min(gap[0], gap[-1]) > 1.2


def test_a_herd_walks_together(assets: Assets) -> None:
    for seed in SEEDS:
        made = make(assets, "herd", seed)
        assert 5 <= len(made.lookalikes) <= 8
        gap = gaps(made)
        assert gap.max() < 4
        assert (gap.max(1) - gap.min(1)).max() < 1
        target = boxes(made.scene, made.scene.target)
        assert max(iou(boxes(made.scene, index), target).max() for index in made.lookalikes) < 0.2


def test_after_a_jerk_a_lookalike_is_nearer_to_where_the_target_was(assets: Assets) -> None:
    for seed in SEEDS:
        scene, lookalikes = make(assets, "jerk", seed)
        target = centres(scene, scene.target)
        size = np.sqrt(np.prod(scene.actors[scene.target].size[0]))
        jerks = 1 + np.flatnonzero(np.linalg.norm(np.diff(target, axis=0), axis=1) > 0.7 * size)
        assert len(jerks) == 3
        for t in jerks:
            nearest = min(np.linalg.norm(centres(scene, index)[t] - target[t - 1]) for index in lookalikes)
            assert nearest < np.linalg.norm(target[t] - target[t - 1])


def test_an_occlusion_hides_the_target_but_not_its_likes(assets: Assets) -> None:
    def hidden(scene: Scene, index: int) -> list[bool]:
        """Whether leaving an actor out changes nothing, frame by frame."""
        without = dataclasses.replace(scene, actors=[*scene.actors])
        without.actors[index] = dataclasses.replace(scene.actors[index], centre=np.full((LENGTH, 2), -1e4))
        return [bool((scene.render(t, SIZE) == without.render(t, SIZE)).all()) for t in range(LENGTH)]

    for seed in SEEDS:
        scene, lookalikes = make(assets, "occlusion", seed)
        for actor in scene.actors:
            actor.shadow = 0
        times = np.flatnonzero(hidden(scene, scene.target))
        assert 1 <= len(times) <= 20
        assert np.ptp(times) == len(times) - 1
        assert 0.2 * LENGTH < times[0] <= times[-1] < 0.9 * LENGTH
        assert not any(any(hidden(scene, index)) for index in lookalikes)


def test_unknown_kinds_are_explained(assets: Assets) -> None:
    with pytest.raises(ConfigError, match="unknown kind of scene 'heard'; did you mean 'herd'"):
        make(assets, "heard", 0)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_target_leaves_the_picture_and_comes_back(assets: Assets, seed: int) -> None:
    made = make_exit_scene(np.random.default_rng(seed), assets, 50, SIZE)
    target, stranger = (boxes(made.scene, index) for index in (made.scene.target, made.lookalikes[0]))
    seen = ((target[:, :2] < SIZE) & (target[:, :2] + target[:, 2:] > 0)).all(1)
    assert seen[[0, -1]].all()
    assert 42 <= (~seen).sum() <= 58
    assert np.count_nonzero(np.diff(seen)) == 2
    middle = stranger[len(seen) // 2 - 10]
    assert ((middle[:2] > 0) & (middle[:2] + middle[2:] < SIZE)).all()
