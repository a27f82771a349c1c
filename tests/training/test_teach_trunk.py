from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tctrack import load_model
from tctrack.checkpoint.load import save_model
from tctrack.models.build import build_model

TOOL = Path(__file__).resolve().parents[2] / "tools" / "teach_trunk.py"


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Run the tool on two images with arguments."""
    spec = importlib.util.spec_from_file_location("teach_trunk", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    images = tmp_path / "images"
    images.mkdir()
    for number in range(2):
        noise = np.random.default_rng(number).integers(0, 256, (12, 16, 3), np.uint8)
        cv2.imwrite(str(images / f"{number}.png"), cv2.resize(noise, (160, 120)))

    def run(*arguments: str | Path) -> None:
        given = ["teach_trunk.py", *map(str, arguments), "--images", str(images), "--threads", "1"]
        monkeypatch.setattr(sys, "argv", [*given, "--crops", "4", "--epochs", "2", "--batch", "2"])
        module.main()

    return run


def test_a_student_starts_from_what_fits_of_its_teacher(tool: Callable[..., None], tmp_path: Path) -> None:
    torch.manual_seed(0)
    options = {"trunk": "efficientnet-lite0", "adaptive_blocks": [8, 9, 10], "search_size": 256}
    teacher = build_model("tctrack-lite", **options)
    save_model(tmp_path / "teacher.safetensors", "tctrack-lite", teacher)
    tool("tctrack-lite", "--teacher", tmp_path / "teacher.safetensors", "--out", tmp_path / "student.safetensors")
    given, learned = teacher.state_dict(), load_model(tmp_path / "student.safetensors").state_dict()
    assert all(torch.isfinite(value).all() for value in learned.values())
    torch.testing.assert_close(learned["inside"], given["inside"])
    torch.testing.assert_close(learned["box_tower.0.0.weight"], given["box_tower.0.0.weight"], rtol=0, atol=0)
    torch.testing.assert_close(
        learned["trunk.blocks.4.project.weight"], given["trunk.blocks.5.project.weight"], rtol=0, atol=0.01
    )
    assert (learned["trunk.blocks.4.project.weight"] != given["trunk.blocks.5.project.weight"]).any()
    centre = given["attrans.map_position"].reshape(16, 16, -1)[1:15, 1:15].reshape(1, 196, -1)
    torch.testing.assert_close(learned["attrans.map_position"], centre, rtol=0, atol=1e-6)
    edges = given["attrans.memory_position"].reshape(8, 8, -1)[:2, :2].mean((0, 1))
    torch.testing.assert_close(learned["attrans.memory_position"][0, 0], edges, rtol=0, atol=1e-6)


def test_a_student_may_share_the_whole_trunk_but_its_end(tool: Callable[..., None], tmp_path: Path) -> None:
    tool("tctrack-nano", "--out", tmp_path / "student.safetensors")
    given = load_model("tctrack-lite").state_dict()
    learned = load_model(tmp_path / "student.safetensors").state_dict()
    for part in ("trunk.stem", "trunk.blocks.0.project", "trunk.blocks.7.project", "neck.0"):
        part += ".weight"
        assert (learned[part] != given[part]).any()
        torch.testing.assert_close(learned[part], given[part], rtol=0, atol=0.01)
    assert learned["merge.0.weight"].shape != given["merge.0.weight"].shape


def test_folders_without_images_are_told(
    tool: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for image in (tmp_path / "images").iterdir():
        image.unlink()
    with pytest.raises(SystemExit) as stop:
        tool("tctrack-lite", "--out", tmp_path / "student.safetensors")
    assert stop.value.code == 2
    assert "holds no image" in capsys.readouterr().err
