"""Our server of the VOT protocol against the client that the VOT toolkit uses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2")
trax = pytest.importorskip("trax", reason="the extra 'vot' is not installed")


def test_the_toolkits_client_gets_a_box_for_every_frame(tmp_path: Path) -> None:
    from trax.client import Client

    paths = []
    for number in range(4):
        paths.append(tmp_path / f"{number}.png")
        cv2.imwrite(str(paths[-1]), np.full((48, 64, 3), 50 * number, np.uint8))
    command = [sys.executable, "-m", "trackers.vot", "static"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        client = Client(stream=(process.stdin.fileno(), process.stdout.fileno()), log=lambda *_: None)
        images = [{"color": trax.FileImage.create(str(path))} for path in paths]

        replies = [client.initialize(images[0], [(trax.Rectangle.create(10, 12, 16, 12), {})], {})]
        replies += [client.frame(image, {}, []) for image in images[1:]]
        client.quit()
        status = process.wait(timeout=60)

    assert status == 0
    assert client.tracker_name == "static"
    assert [objects[0][0].bounds() for objects, _ in replies] == [(10, 12, 16, 12)] * 4
