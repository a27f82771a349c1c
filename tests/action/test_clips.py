"""Lists, decoding and sampling of labelled videos."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from tctrack.action.clips import ActionClips, ClipSpec, dense_indices, square_crops, uniform_indices, video_views
from tctrack.action.decoding import count_frames, read_frames
from tctrack.action.lists import Example, read_list
from tctrack.action.motions import LENGTH, MOTIONS, motion_clips, write_motion_videos
from tctrack.errors import ConfigError, DatasetError, DependencyError

SMALL = ClipSpec(frames=4, interval=2, size=32, test_size=32, scale=(32, 40))


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four videos of eight frames, and their list."""
    return write_motion_videos(tmp_path_factory.mktemp("motion"), 4, seed=0)


def test_kinetics_lists(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x/one.mp4 3\nwith space.mp4,5\n")
    assert read_list(tmp_path / "a.csv") == [
        Example(tmp_path / "x/one.mp4", (3,)),
        Example(tmp_path / "with space.mp4", (5,)),
    ]
    (tmp_path / "b.csv").write_text(
        "label,youtube_id,time_start,time_end,split\nzumba,abc,5,15,train\nabseiling,-de_,0,10,train\n"
    )
    assert read_list(tmp_path / "b.csv", "/v") == [
        Example(Path("/v/abc_000005_000015.mp4"), (1,)),
        Example(Path("/v/-de__000000_000010.mp4"), (0,)),
    ]


def test_something_something_list(tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text(json.dumps({"Holding something": "0", "Tearing something": "1"}))
    (tmp_path / "train.json").write_text(
        json.dumps(
            [{"id": "7", "label": "tearing paper", "template": "Tearing [something]", "placeholders": ["paper"]}]
        )
    )
    assert read_list(tmp_path / "train.json", "/v", "ssv2") == [Example(Path("/v/7.webm"), (1,))]


def test_epic_kitchens_list(tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text(
        "narration_id,participant_id,video_id,start_timestamp,stop_timestamp,verb_class,noun_class\n"
        "P01_01_0,P01,P01_01,00:01:01.50,00:01:03.25,2,42\n"
    )
    assert read_list(tmp_path / "e.csv", "/v", "epic") == [
        Example(Path("/v/P01/videos/P01_01.MP4"), (2, 42), 61.5, 63.25)
    ]


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("", "kinetics", "names no video"),
        ("video.mp4 seven\n", "kinetics", "not of the kind"),
        ("[]", "epics", "did you mean 'epic'"),
        ("[{}]", "ssv2", "labels.json"),
        ("a,b\n1,2\n", "epic", "not of the kind 'epic'"),
    ],
)
def test_malformed_lists_are_told(tmp_path: Path, text: str, kind: str, message: str) -> None:
    (tmp_path / "list").write_text(text)
    with pytest.raises(DatasetError, match=message):
        read_list(tmp_path / "list", None, kind)
    with pytest.raises(DatasetError, match="nowhere"):
        read_list(tmp_path / "nowhere")


def test_dense_sampling() -> None:
    spec = ClipSpec(frames=4, interval=3)
    assert dense_indices(20, spec, 0).tolist() == [0, 3, 6, 9]
    assert dense_indices(20, spec, 1).tolist() == [10, 13, 16, 19]
    assert dense_indices(20, spec, 0.5).tolist() == [5, 8, 11, 14]
    assert dense_indices(8, spec, 0.7).tolist() == [0, 3, 6, 7]


def test_uniform_sampling() -> None:
    spec = ClipSpec(frames=4)
    assert uniform_indices(16, spec, np.full(4, 0.5)).tolist() == [2, 6, 10, 14]
    assert uniform_indices(10, spec, np.zeros(4)).tolist() == [0, 2, 5, 7]
    assert uniform_indices(16, spec, np.full(4, 1.0)).tolist() == [4, 8, 12, 15]


def test_square_crops_lie_along_the_longer_side() -> None:
    clip = torch.arange(8.0).expand(3, 2, 4, 8)
    left, centre, right = square_crops(clip, 4, 3)
    assert [crop[0, 0, 0, 0].item() for crop in (left, centre, right)] == [0, 2, 4]
    assert square_crops(clip, 4, 1)[0].equal(centre)
    assert square_crops(torch.rand(3, 2, 30, 50), 16, 1)[0].shape == (3, 2, 16, 16)


@pytest.mark.parametrize("decoder", ["opencv", "pyav"])
def test_frames_are_found_by_their_numbers(videos: Path, decoder: str) -> None:
    if decoder == "pyav":
        pytest.importorskip("av")
    path = videos.parent / "00000.mp4"
    assert count_frames(path, decoder) == (LENGTH, 8.0)
    written = motion_clips(4, np.random.default_rng(0), 64)[0][0]
    read = read_frames(path, [2, 5, 5], decoder)
    for frame, number in zip(read, (2, 5, 5), strict=True):
        errors = [np.abs(frame.astype(int) - other).mean() for other in written]
        assert int(np.argmin(errors)) == number


def test_views_of_a_video(videos: Path) -> None:
    views = video_views(Example(videos.parent / "00001.mp4", ()), SMALL, clips=3, crops=2)
    assert views.shape == (6, 3, 4, 32, 32)
    assert views.abs().max() < 3
    part = Example(videos.parent / "00001.mp4", (), start=0.5, stop=0.99)
    first = read_frames(part.path, [4])[0].astype(float)
    view = video_views(part, ClipSpec(frames=4, interval=1, test_size=64))[0]
    expected = (torch.from_numpy(first[..., ::-1].copy()).permute(2, 0, 1) / 255 - 0.45) / 0.225
    torch.testing.assert_close(view[:, 0], expected.float(), rtol=1e-4, atol=1e-4)


def test_training_items_are_random_by_epoch_and_repeatable(videos: Path) -> None:
    data = ActionClips(read_list(videos), SMALL, train=True, seed=1)
    one, again = data[0].views, data[0].views
    assert one.shape == (1, 3, 4, 32, 32)
    assert one.equal(again)
    data.set_epoch(1)
    assert not one.equal(data[0].views)


def test_unreadable_and_short_videos_are_counted(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"not a video")
    examples = [Example(tmp_path / "broken.mp4", (0,)), Example(tmp_path / "absent.mp4", (0,)), *read_list(videos)]
    train = ActionClips(examples, SMALL, train=True)
    assert train[0].skipped == 2
    assert train[0].labels.equal(train[2].labels)
    assert train[3].skipped == 0
    test = ActionClips(examples, SMALL, train=False)
    assert [test[n].skipped for n in range(4)] == [1, 1, 0, 0]
    with pytest.raises(DatasetError, match="has 8 frames; a clip needs 9"):
        video_views(examples[2], ClipSpec(frames=9))
    with pytest.raises(DatasetError, match="broken"):
        video_views(examples[0], SMALL)
    with pytest.raises(DatasetError, match="in a row"):
        ActionClips(examples[:2], SMALL, train=True)[0]


def test_truncated_video_is_told(videos: Path, tmp_path: Path) -> None:
    whole = (videos.parent / "00000.mp4").read_bytes()
    (tmp_path / "half.mp4").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetError, match="half"):
        video_views(Example(tmp_path / "half.mp4", ()), SMALL)


def test_missing_decoder_is_told(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(DependencyError, match=r"pip install '\.\[action\]'"):
        count_frames(videos.parent / "00000.mp4", "pyav")


def test_crop_larger_than_the_frame_is_told() -> None:
    with pytest.raises(ConfigError, match=r"clip\.scale"):
        ClipSpec(size=300)


def test_motion_cannot_be_told_from_unordered_frames() -> None:
    """Every clip of every class shows the square once at every place, and each flash once, half a clip apart."""
    clips, labels = motion_clips(200, np.random.default_rng(3))
    assert set(labels) == set(range(len(MOTIONS)))
    for clip, label in zip(clips.astype(int), labels, strict=True):
        bright = clip.max(-1) > 160
        columns = [frozenset(np.flatnonzero(frame.sum(0) >= 6)) for frame in bright]
        assert len(set(columns)) == LENGTH
        red = (clip[..., 2] - clip[..., 0] > 150).sum((1, 2)).argmax()
        blue = (clip[..., 0] - clip[..., 2] > 150).sum((1, 2)).argmax()
        assert abs(red - blue) == LENGTH // 2
        assert (red < blue) == (label % 2 == 0)


def test_a_pipe_in_place_of_a_video_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(DatasetError, match="no regular file"):
        count_frames(tmp_path / "pipe.mp4")
