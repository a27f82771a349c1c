from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2")

#: Names and lengths of the generated sequences.
SEQUENCES = {"Animal1": 9, "Car6": 6, "Yacht4": 7}


@pytest.fixture(scope="session")
def dtb70(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A partial DTB70 of tiny frames, in which a bright square drifts to the right."""
    root = tmp_path_factory.mktemp("data") / "DTB70"
    for name, length in SEQUENCES.items():
        folder = root / name / "img"
        folder.mkdir(parents=True)
        boxes = [(10 + 2 * index, 12, 16, 12) for index in range(length)]
        for index, (x, y, w, h) in enumerate(boxes, start=1):
            frame = np.full((48, 64, 3), 90, np.uint8)
            frame[y : y + h, x : x + w] = 230
            cv2.imwrite(str(folder / f"{index:05d}.jpg"), frame)
        np.savetxt(root / name / "groundtruth_rect.txt", boxes, fmt="%d", delimiter=",")
    return root
