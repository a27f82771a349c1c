from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from tctrack.errors import DatasetError
from tctrack.scenes.synthetic import Assets, SceneConfig
from tctrack.training.clips import (
    Clip,
    ClipConfig,
    ClipDataset,
    PackTracks,
    SceneTracks,
    SiameseSampling,
    TrackSource,
    sample_clip,
)
from tctrack.training.disturb import degraded, mirrored, with_occluder, with_twin
from tctrack.training.tracks import Track, View
from tctrack.types import Frame

CONFIG = ClipConfig(length=3)


@pytest.fixture(scope="module")
def painted() -> SceneTracks:
    return SceneTracks(Assets.procedural(0, grounds=1, sprites=4))


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """A track of a white square on grey, 60 by 40 pixels at the middle of each crop, and a still."""
    image = np.full((384, 384, 3), 90, np.uint8)
    image[172:212, 162:222] = 255
    rows = []
    (tmp_path / "walk").mkdir()
    for index in range(12):
        cv2.imwrite(str(tmp_path / f"walk/{index:03d}.png"), image)
        rows.append([f"{index:03d}.png", 162, 172, 60, 40])
    (tmp_path / "img_one").mkdir()
    cv2.imwrite(str(tmp_path / "img_one/000.png"), image)
    (tmp_path / "boxes.json").write_text(json.dumps({"walk": rows, "img_one": [["000.png", 162, 172, 60, 40]]}))
    return tmp_path


def _check(clip: Clip) -> None:
    assert clip.template.shape == (128, 128, 3)
    assert clip.search.shape == (3, 224, 224, 3)
    assert clip.boxes.shape == (3, 4)
    assert clip.boxes.dtype == np.float32
    assert (clip.boxes[:, 2:] > 0).all()
    centre = clip.boxes[0, :2] + clip.boxes[0, 2:] / 2
    np.testing.assert_allclose(centre, 112, atol=12)  # the first search crop starts on the target


def _draw(source: TrackSource, seed: int, config: ClipConfig) -> Clip:
    return sample_clip(source, np.random.default_rng(seed), config)


def test_synthetic_clips_depend_on_the_seed_and_index_alone(painted: SceneTracks) -> None:
    datasets = [ClipDataset([(painted, 1.0)], CONFIG, 8, seed=1) for _ in range(2)]
    list(map(datasets[0].__getitem__, (0, 1)))
    for first, second in zip(datasets[0][5], datasets[1][5], strict=True):
        np.testing.assert_array_equal(first, second)
    _check(datasets[0][3])


def test_recorded_clips_follow_the_track(pack: Path) -> None:
    # Without a pasted twin, the bright pixels of a disturbed crop are the target's.
    config = ClipConfig(length=3, twin=0.0, stretch=0.2)
    source = PackTracks(pack)
    for seed in range(12):
        clip = _draw(source, seed, config)
        _check(clip)
        for image, (x, y, w, h) in zip(clip.search, clip.boxes, strict=True):
            grey = image.mean(-1)
            ys, xs = np.nonzero(grey > (grey.max() + np.median(grey)) / 2)
            inside = (xs > x - 4) & (xs < x + w + 4) & (ys > y - 4) & (ys < y + h + 4)
            assert inside.mean() > 0.95


def test_search_crops_are_stretched_but_the_first(pack: Path) -> None:
    source, shape = PackTracks(pack), np.log(60 / 40)
    clips = [_draw(source, seed, ClipConfig(length=9, stretch=0.2)).boxes for seed in range(30)]
    changes = np.log([boxes[:, 2] / boxes[:, 3] for boxes in clips]) - shape
    np.testing.assert_allclose(changes[:, 0], 0, atol=1e-6)
    assert changes[:, 1:].std() == pytest.approx(0.2, rel=0.1)


def test_a_twin_leaves_the_target_in_front(pack: Path) -> None:
    clip = _draw(PackTracks(pack), 0, ClipConfig(length=3, twin=1.0))
    x, y, w, h = clip.boxes[1]
    middle = clip.search[1, int(y + h / 2), int(x + w / 2)].mean()
    assert middle > np.median(clip.search[1]) + 30


def test_a_covered_target_is_hidden_and_counts_as_absent(pack: Path) -> None:
    config = ClipConfig(length=4, twin=0.0, cover=1.0, hidden=0.2, drift=(3.0,))
    source = PackTracks(pack)
    hidden = []
    for seed in range(12):
        clip = _draw(source, seed, config)
        for image, (x, y, w, h) in zip(clip.search, clip.boxes, strict=True):
            outside = x + w < 0 and y + h < 0
            assert outside == (image[64:192, 64:192].mean(-1).std() < 15)  # the white square would stand out
            hidden.append(outside)
    shares = np.reshape(hidden, (12, 4))
    assert not shares[:, 0].any()
    assert shares[:, 1:].any(1).all()
    assert 1 <= shares.sum(1).max() <= 3


def _still_track(image: Frame, box: tuple[float, float, float, float], length: int) -> Track:
    """A track whose crops are the image itself where the view is :func:`_whole`."""

    def crop(t: int, view: View, size: int) -> Frame:
        matrix = view.matrix(size)
        return np.asarray(cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_NEAREST), np.uint8)

    return Track(np.tile(np.array(box, np.float64), (length, 1)), np.ones(length), crop)


def _whole(side: int) -> View:
    return View(np.full(2, side / 2), np.full(2, side))


@pytest.mark.parametrize(
    "box", [(-30, 10, 40, 40), (170, 180, 40, 30), (80, 60, 40, 20), (300, 300, 20, 20), (-5, -5, 210, 210)]
)
def test_an_occluder_stays_in_the_image_and_on_the_target(box: tuple[int, int, int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    given = image.copy()
    track = with_occluder(np.random.default_rng(1), _still_track(image, box, 5))
    hidden = np.flatnonzero(track.visible == 0)
    assert set(hidden) <= {2, 3, 4}
    assert (track.visible[:2] == 1).all()
    x, y, w, h = box
    pasted = track.crop(int(hidden[0]), _whole(200), 200)
    np.testing.assert_array_equal(image, given)
    changed = np.argwhere((pasted != image).any(-1))[:, ::-1]
    assert (np.abs(changed + 0.5 - (x + w / 2, y + h / 2)) <= 0.85 * np.array([w, h]) + 2).all()
    target = np.s_[max(y, 0) : max(y + h, 0), max(x, 0) : max(x + w, 0)]
    assert image[target].size == 0 or (pasted[target] != image[target]).any(-1).mean() > 0.9
    np.testing.assert_array_equal(track.crop(0, _whole(200), 200), image)


@pytest.mark.parametrize("box", [(-30, 10, 40, 40), (170, 180, 40, 30), (80, 60, 40, 20), (300, 300, 20, 20)])
def test_a_twin_leaves_the_template_and_the_target_alone(box: tuple[int, int, int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    x, y, w, h = box
    inner = np.s_[max(y + h // 4, 0) : y + 3 * h // 4, max(x + w // 4, 0) : x + 3 * w // 4]
    changed = []
    for seed in range(8):
        track = with_twin(np.random.default_rng(seed), _still_track(image, box, 3))
        np.testing.assert_array_equal(track.crop(0, _whole(200), 200), image)
        pasted = track.crop(1, _whole(200), 200)
        changed.append((pasted != image).any())
        assert np.abs(pasted[inner].astype(int) - image[inner]).max(initial=0) < 8
    assert any(changed) == (x < 200)


def test_mirroring_turns_box_and_crop_alike() -> None:
    image = np.full((200, 200, 3), 60, np.uint8)
    image[50:80, 20:80] = 250
    track = mirrored(_still_track(image, (20, 50, 60, 30), 1))
    view = View(np.array([-60.0, 90.0]), np.full(2, 160.0))
    crop = track.crop(0, view, 160)
    ys, xs = np.nonzero(crop[..., 0] == 250)
    x, y, w, h = view.place(track.boxes[0], 160)
    np.testing.assert_allclose((xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1), (x, y, w, h), atol=1)


def test_some_clips_are_dark_and_some_foggy() -> None:
    checks = np.indices((96, 96)).sum(0) // 24 % 2 * 120 + 60
    image = np.repeat(checks[..., None], 3, -1).astype(np.uint8)
    track = _still_track(image, (20, 50, 60, 30), 2)
    view = View(np.array([48.0, 48.0]), np.full(2, 96.0))
    crops = []
    for seed in range(120):
        dull = degraded(np.random.default_rng(seed), track)
        crops.append([dull.crop(t, view, 96) for t in range(2)])
    level, contrast = (np.array([[fn(crop) for crop in pair] for pair in crops]) for fn in (np.mean, np.std))
    dark, foggy = level < 70, (level > 125) & (contrast < 42)
    for kind in (dark, foggy):
        assert 0.02 < kind.mean() < 0.2
    assert (dark[:, 0] == dark[:, 1]).mean() > 0.95  # alike in all crops of a clip


def test_scenes_begin_with_the_target_in_sight(painted: SceneTracks) -> None:
    scene = SceneConfig(distractors=(0, 0), occluder=1.0, occluder_size=(2.0, 2.5), speed=0.05)
    config = ClipConfig(length=4, hidden=0.3, strides=(3,))
    source = SceneTracks(painted.assets, scene)
    clips = [_draw(source, seed, config) for seed in range(24)]
    absent = np.array([clip.boxes[:, 0] + clip.boxes[:, 2] < 0 for clip in clips])
    assert not absent[:, 0].any()
    assert 0.1 < absent[:, 2:].mean() < 0.9


def test_strides_spread_a_clip_over_more_frames(painted: SceneTracks) -> None:
    scene = SceneConfig(zoom=0.0, shake=0.0, roll=0.0, deform=0.0, speed=0.3, occluder=0.0)
    source = SceneTracks(painted.assets, scene)

    def speed(stride: int) -> float:
        config = ClipConfig(length=3, drift=(0.0,), scale_jitter=0.0, strides=(stride,))
        boxes = np.array([_draw(source, seed, config).boxes for seed in range(16)])
        return float(np.abs(boxes[:, 1:, :2] + boxes[:, 1:, 2:] / 2 - 112).mean())

    assert speed(4) > 2 * speed(1)


class Counts:
    """A source that counts how often it is drawn from."""

    drawn = 0

    def track(self, rng: np.random.Generator, config: ClipConfig) -> Track:
        self.drawn += 1
        return _still_track(np.zeros((8, 8, 3), np.uint8), (2, 2, 4, 4), config.length + 1)


def test_sources_are_mixed_by_weight() -> None:
    never, seldom, often = Counts(), Counts(), Counts()
    dataset = ClipDataset([(never, 0.0), (seldom, 1.0), (often, 3.0)], CONFIG, 400)
    list(map(dataset.__getitem__, range(400)))
    assert never.drawn == 0
    assert 70 < seldom.drawn < 130
    assert seldom.drawn + often.drawn == 400
    with pytest.raises(DatasetError, match="at least one source"):
        ClipDataset([(never, 0.0)], CONFIG, 4)


@pytest.mark.parametrize(("only", "stills"), [("walk", 1.0), ("img_one", 0.0)])
def test_a_pack_of_one_kind_ignores_the_share_of_stills(pack: Path, only: str, stills: float) -> None:
    rows = json.loads((pack / "boxes.json").read_text())
    (pack / "boxes.json").write_text(json.dumps({only: rows[only]}))
    _check(_draw(PackTracks(pack, stills), 0, CONFIG))


@pytest.mark.parametrize("text", ["{", "[]", '{"a": [["x.png", 1]]}'])
def test_a_malformed_pack_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "boxes.json").write_text(text)
    with pytest.raises(DatasetError, match=r"boxes\.json"):
        PackTracks(tmp_path)


def test_a_missing_pack_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="crop pack"):
        PackTracks(tmp_path / "nowhere")


@pytest.mark.data
def test_the_research_crops_are_read(shared: Path) -> None:
    source = PackTracks(shared / "data/train_crops")
    for seed in range(3):
        _check(_draw(source, seed, CONFIG))


PLAIN = SiameseSampling(shift=0.0, scale=0.0, template_shift=0.0, template_scale=0.0, blur=0.0)


def test_siamese_clips_share_one_shift_and_scale(pack: Path, painted: SceneTracks) -> None:
    sizes = []
    for seed in range(30):
        source = (PackTracks(pack), painted)[seed % 2]
        clip = _draw(source, seed, ClipConfig(127, 287, 4, siamese=SiameseSampling()))
        centre = clip.boxes[:, :2] + clip.boxes[:, 2:] / 2
        np.testing.assert_allclose(centre, centre[:1].repeat(4, 0), atol=1e-3)  # each about its own target
        if seed % 2 == 0:  # the track's target is 60 by 40, and a crop shows its context of 99.5 in 127 pixels
            sizes.append(np.array([60, 40]) * 127 / np.sqrt(110 * 90) / clip.boxes[0, 2:])
    low, high = np.min(sizes, 0), np.max(sizes, 0)
    assert (low >= 0.82 - 1e-6).all()
    assert (high <= 1.18 + 1e-6).all()
    assert (high - low > 0.2).all()
    assert np.ptp(np.array(sizes)[:, 0] / np.array(sizes)[:, 1]) > 0.1  # width and height change apart


def test_siamese_clips_are_shifted_off_the_target(painted: SceneTracks) -> None:
    config = ClipConfig(127, 287, 2, siamese=SiameseSampling(scale=0.0))
    clips = [_draw(painted, seed, config) for seed in range(16)]
    offsets = np.array([clip.boxes[0, :2] + clip.boxes[0, 2:] / 2 - 143.5 for clip in clips])
    assert np.abs(offsets).max() <= 64
    assert (np.ptp(offsets, 0) > 70).all()


def test_siamese_clips_end_with_neighbours_near_the_template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The brightness of a frame tells its number, once colours stay.
    monkeypatch.setattr("tctrack.training.disturb.tinted", lambda rng, track, blur: track)
    (tmp_path / "walk").mkdir()
    rows = []
    for index in range(24):
        cv2.imwrite(str(tmp_path / f"walk/{index:03d}.png"), np.full((384, 384, 3), 10 * index, np.uint8))
        rows.append([f"{index:03d}.png", 162, 172, 60, 40])
    (tmp_path / "boxes.json").write_text(json.dumps({"walk": rows}))
    config = ClipConfig(127, 287, 4, reach=6, siamese=PLAIN)
    for seed in range(10):
        clip = _draw(PackTracks(tmp_path), seed, config)
        origin, *frames = (int(np.median(image)) // 10 for image in (clip.template, *clip.search))
        assert frames == sorted(frames)
        assert frames[-2] == max(frames[-1] - 1, origin - 6, 0)
        assert all(abs(frame - origin) <= 6 for frame in frames)


def test_a_still_is_its_own_past(pack: Path) -> None:
    source = PackTracks(pack, stills=1.0)
    clip = _draw(source, 0, ClipConfig(127, 287, 3, siamese=PLAIN))
    assert np.abs(clip.search[0].astype(int) - clip.search[2]).max() < 60  # but for the colours
    np.testing.assert_allclose(clip.boxes[0], clip.boxes[2])


def test_clips_grow_and_come_again(painted: SceneTracks) -> None:
    dataset = ClipDataset([(painted, 1.0)], CONFIG, 8, grow=[4], distinct=3)
    assert [len(dataset[index].boxes) for index in (0, 3, 4, 7)] == [2, 2, 3, 3]
    np.testing.assert_array_equal(dataset[4].search, dataset[7].search)
    assert not np.array_equal(dataset[4].search, dataset[5].search)
