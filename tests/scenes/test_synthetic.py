from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tctrack.errors import DatasetError
from tctrack.scenes.synthetic import Actor, Assets, Scene, SceneConfig, compose, make_scene


@pytest.fixture(scope="module")
def assets() -> Assets:
    return Assets.procedural(0, grounds=1, sprites=4)


def _scene(assets: Assets, seed: int = 0, **options: object) -> Scene:
    return make_scene(np.random.default_rng(seed), assets, 6, SceneConfig(**options), (320, 240))  # type: ignore[arg-type]


def test_the_same_seed_draws_the_same_video(assets: Assets) -> None:
    first, second = (_scene(assets, 3) for _ in range(2))
    for t in range(len(first)):
        assert first.box(t) == second.box(t)
        np.testing.assert_array_equal(first.render(t, (320, 240)), second.render(t, (320, 240)))


def test_another_seed_draws_another_video(assets: Assets) -> None:
    assert _scene(assets, 1).box(0) != _scene(assets, 2).box(0)


@pytest.mark.parametrize("angle", [0.0, 0.4, -1.3])
@pytest.mark.parametrize("size", [(30.0, 60.0), (9.5, 7.25)])
@pytest.mark.parametrize("limbs", [None, [[[0.8, 0.8, 0.5, 0.5], [0.9, 0.9, 0.9, 0.6]]]])
def test_boxes_are_exact(angle: float, size: tuple[float, float], limbs: list[list[list[float]]] | None) -> None:
    sprite = np.full((50, 40, 4), 255, np.uint8)
    shares = None if limbs is None else np.array(limbs)
    actor = Actor(sprite, np.array([[100.3, 80.7]]), np.array([size]), np.array([angle]), limbs=shares)
    ground = np.zeros((200, 200, 3), np.uint8)
    scene = Scene(ground, [actor], 0, np.array([[[1.0, 0, 0], [0, 1.0, 0]]]), np.ones((1, 3)))
    covered = np.argwhere(scene.render(0, (200, 200))[..., 0] > 127)
    (top, left), (bottom, right) = covered.min(0), covered.max(0) + 1
    box = scene.box(0)
    # Half-covered pixels round either way, and slanting edges end in corners that cover little of theirs.
    atol = 1.0 if limbs is None else 2.5
    np.testing.assert_allclose((box.x, box.y, box.x + box.w, box.y + box.h), (left, top, right, bottom), atol=atol)


def test_limbs_change_the_shape_and_stay_within_it(assets: Assets) -> None:
    scene = _scene(assets, 6, flex=1.0)
    actor = scene.actors[scene.target]
    shapes = [np.ptp(actor.pose(t)[1], axis=0) for t in range(len(scene))]
    assert (np.max(shapes, 0) <= actor.sprite.shape[1::-1]).all()
    assert (np.std(shapes, 0) > 1).all()
    # Drawn in as far as this, two columns would vanish.
    thin = Actor(
        np.full((40, 2, 4), 255, np.uint8), actor.centre, actor.size, actor.angle, limbs=np.full((6, 2, 4), 0.2)
    )
    assert np.ptp(thin.pose(0)[1], axis=0).min() > 0


@pytest.mark.parametrize(("offset", "shown"), [(0.0, 0.0), (10.0, 0.25), (20.0, 0.5), (40.0, 1.0)])
def test_the_shown_share_is_what_later_actors_leave(offset: float, shown: float) -> None:
    sprite = np.full((40, 40, 4), 255, np.uint8)
    target, before, behind = (
        Actor(sprite, np.array([[x, 80.0]]), np.array([[40.0, 40.0]]), np.zeros(1))
        for x in (100.0, 100.0 + offset, 100.0)
    )
    camera = np.array([[[0.5, 0, 0], [0, 0.5, 0]]])
    scene = Scene(np.zeros((9, 9, 3), np.uint8), [behind, target, before], 1, camera, np.ones((1, 3)))
    assert scene.visible(0) == pytest.approx(shown, abs=0.05)


def test_crossing_distractors_pass_as_near_as_asked(assets: Assets) -> None:
    def hits(passing: float) -> int:
        """Count the distractors whose centre meets the target's."""
        config = SceneConfig(distractors=(6, 6), occluder=0.0, passing=passing)
        scenes = [make_scene(np.random.default_rng(seed), assets, 12, config) for seed in range(12)]
        return sum(
            bool((np.hypot(*(actor.centre - scene.actors[scene.target].centre).T) < 1e-6).any())
            for scene in scenes
            for index, actor in enumerate(scene.actors)
            if index != scene.target
        )

    assert hits(0.4) == 0
    assert 8 < hits(0.0) < 30  # a quarter of 72


def test_a_view_moves_the_picture_and_its_boxes_alike(assets: Assets) -> None:
    scene = _scene(assets, 4, distractors=(0, 0), occluder=0.0)
    view = np.array([[2.0, 0, -100], [0, 2.0, -60]])
    doubled = scene.render(2, (400, 300), view)
    box = scene.box(2)
    moved = Scene(scene.ground, scene.actors, 0, np.stack([compose(view, m) for m in scene.camera]), scene.gain)
    np.testing.assert_allclose(moved.box(2), (2 * box.x - 100, 2 * box.y - 60, 2 * box.w, 2 * box.h))
    assert doubled.shape == (300, 400, 3)


def test_the_camera_keeps_the_target_in_the_frame(assets: Assets) -> None:
    for seed in range(5):
        scene = make_scene(np.random.default_rng(seed), assets, 60, SceneConfig(target_size=(30, 40)), (640, 360))
        for t in range(60):
            box = scene.box(t)
            assert 0 < box.x + box.w / 2 < 640
            assert 0 < box.y + box.h / 2 < 360


def test_lookalikes_resemble_the_target(assets: Assets) -> None:
    scene = _scene(assets, 5, distractors=(3, 3), lookalike=1.0, occluder=0.0)
    target = scene.actors[scene.target]
    others = [actor for actor in scene.actors if actor is not target]
    assert len(others) == 3
    assert all(actor.sprite.shape == target.sprite.shape for actor in others)


def test_folders_of_photos_cutouts_and_polygons_are_read(tmp_path: Path) -> None:
    for name in ("photos", "cutouts", "coco/images", "coco/polygons"):
        (tmp_path / name).mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "photos/a.png"), np.full((64, 80, 3), 7, np.uint8))
    cv2.imwrite(str(tmp_path / "cutouts/b.png"), np.full((30, 30, 4), 255, np.uint8))
    cv2.imwrite(str(tmp_path / "cutouts/clear.png"), np.zeros((30, 30, 4), np.uint8))
    cv2.imwrite(str(tmp_path / "cutouts/deep.png"), np.full((30, 30, 4), 40000, np.uint16))
    cv2.imwrite(str(tmp_path / "coco/images/c.PNG"), np.full((100, 100, 3), 50, np.uint8))
    (tmp_path / "coco/polygons/c.txt").write_text("0 0.2 0.2 0.7 0.2 0.7 0.6 0.2 0.6\n\n")
    (tmp_path / "photos/broken.jpg").write_bytes(b"no picture")
    found = Assets.from_folders([tmp_path / "photos"], [tmp_path / "cutouts"], [tmp_path / "coco"])
    assert found.grounds[0].shape == (64, 80, 3)
    assert found.grounds[1].shape == (100, 100, 3)
    assert found.sprites[0].shape == (30, 30, 4)
    assert found.sprites[1].shape == (40, 50, 4)
    (tmp_path / "coco/polygons/c.txt").write_text("0 0.2 0.2 0.7\n")
    with pytest.raises(DatasetError, match=r"c\.txt:1: expected a class and at least three"):
        Assets.from_folders([], [], [tmp_path / "coco"])
    with pytest.raises(DatasetError, match="no readable image"):
        Assets.from_folders([tmp_path / "coco/polygons"])
