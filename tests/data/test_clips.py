from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from tctrack.data.clips import Clip, ClipConfig, ClipDataset, CropPack, SyntheticClips
from tctrack.data.synthetic import Assets
from tctrack.errors import DatasetError

CONFIG = ClipConfig(length=3)


@pytest.fixture(scope="module")
def painted() -> SyntheticClips:
    return SyntheticClips(Assets.procedural(0, grounds=1, sprites=4))


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
    assert clip.search.shape == (3, 256, 256, 3)
    assert clip.boxes.shape == (3, 4)
    assert clip.boxes.dtype == np.float32
    assert (clip.boxes[:, 2:] > 0).all()
    centre = clip.boxes[0, :2] + clip.boxes[0, 2:] / 2
    np.testing.assert_allclose(centre, 128, atol=12)  # the first search crop starts on the target


def test_synthetic_clips_depend_on_the_seed_and_index_alone(painted: SyntheticClips) -> None:
    datasets = [ClipDataset([(painted, 1.0)], CONFIG, 8, seed=1) for _ in range(2)]
    list(map(datasets[0].__getitem__, (0, 1)))
    for first, second in zip(datasets[0][5], datasets[1][5], strict=True):
        np.testing.assert_array_equal(first, second)
    _check(datasets[0][3])


def test_recorded_clips_follow_the_track(pack: Path) -> None:
    # Without a pasted twin, the bright pixels of a disturbed crop are the target's.
    config = ClipConfig(length=3, twin=0.0)
    source = CropPack(pack)
    for seed in range(12):
        clip = source.sample(np.random.default_rng(seed), config)
        _check(clip)
        for image, (x, y, w, h) in zip(clip.search, clip.boxes, strict=True):
            grey = image.mean(-1)
            ys, xs = np.nonzero(grey > (grey.max() + np.median(grey)) / 2)
            inside = (xs > x - 4) & (xs < x + w + 4) & (ys > y - 4) & (ys < y + h + 4)
            assert inside.mean() > 0.95


def test_a_twin_leaves_the_target_in_front(pack: Path) -> None:
    clip = CropPack(pack).sample(np.random.default_rng(0), ClipConfig(length=3, twin=1.0))
    x, y, w, h = clip.boxes[1]
    middle = clip.search[1, int(y + h / 2), int(x + w / 2)].mean()
    assert middle > np.median(clip.search[1]) + 30


def test_sources_are_mixed_by_weight(painted: SyntheticClips, pack: Path) -> None:
    dataset = ClipDataset([(painted, 0.0), (CropPack(pack), 1.0)], CONFIG, 4)
    assert all(len(np.unique(dataset[index].search)) < 256 * 256 for index in range(2))
    with pytest.raises(DatasetError, match="at least one source"):
        ClipDataset([(painted, 0.0)], CONFIG, 4)


@pytest.mark.parametrize("text", ["{", "[]", '{"a": [["x.png", 1]]}'])
def test_a_malformed_pack_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "boxes.json").write_text(text)
    with pytest.raises(DatasetError, match=r"boxes\.json"):
        CropPack(tmp_path)


def test_a_missing_pack_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="crop pack"):
        CropPack(tmp_path / "nowhere")


@pytest.mark.data
def test_the_research_crops_are_read(shared: Path) -> None:
    source = CropPack(shared / "data/train_crops")
    for seed in range(3):
        _check(source.sample(np.random.default_rng(seed), CONFIG))
