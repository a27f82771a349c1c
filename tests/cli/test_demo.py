from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tctrack.cli import main


def test_the_demo_tracks_with_the_shipped_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--out", str(tmp_path), "--frames", "20", "--size", "640x360"]) == 0
    printed = capsys.readouterr().out
    overlap = float(printed.split("mean IoU ")[1].split(",")[0])
    assert overlap >= 0.6
    assert len(np.loadtxt(tmp_path / "truth.txt", delimiter=",")) == 20
    sheet = cv2.imread(str(tmp_path / "contact_sheet.png"))
    assert sheet is not None
    assert sheet.shape[1] == 1800
    for name in ("clip.mp4", "tracked.mp4"):
        video = cv2.VideoCapture(str(tmp_path / name))
        assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 20
        assert video.get(cv2.CAP_PROP_FRAME_WIDTH) == 640


@pytest.mark.parametrize("arguments", [["--size", "wide"], ["--size", "8x8"], ["--frames", "1"], ["--out", "/proc/x"]])
def test_bad_requests_end_with_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--model", "static", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("tctrack: error: ")
    assert error.count("\n") == 1
