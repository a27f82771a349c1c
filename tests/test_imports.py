"""What importing costs: names and help must not wait for heavy packages."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from tctrack.cli import VERBS
from tests.clips import square_box, write_video

HEAVY = ("torch", "cv2", "got10k", "matplotlib", "numpy")


def loaded_after(code: str) -> set[str]:
    """Run code in a fresh interpreter; return which of the heavy packages it loaded."""
    report = f"import sys; print('\\n' + ' '.join(name for name in {HEAVY} if name in sys.modules))"
    script = f"import contextlib, io\nwith contextlib.suppress(SystemExit):\n    {code}\n{report}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_the_library() -> None:
    assert loaded_after("import tctrack") == set()


def test_the_trackers() -> None:
    assert loaded_after("import trackers; list(trackers.TRACKERS)") <= {"numpy"}


def test_an_opencv_tracker_does_not_need_torch() -> None:
    assert "torch" not in loaded_after("import trackers, tctrack.video; trackers.build_tracker('mil')")


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help(verb: str) -> None:
    if verb and importlib.util.find_spec(f"tctrack.cli.{verb.replace('-', '_')}") is None:
        pytest.skip(f"'tctrack {verb}' is not there yet")
    assert loaded_after(f"from tctrack.cli import main; main({[*verb.split(), '--help']})") == set()


def test_the_tracker_does_not_need_torch() -> None:
    assert "torch" not in loaded_after("import trackers.siamese, trackers.nanotrack, tctrack.engines.onnx")


def test_without_torch_one_line_says_how_to_install_it() -> None:
    run = "from tctrack.cli import main; sys.exit(main(['convert', 'a', '--out', 'b']))"
    script = f"import sys; sys.modules['torch'] = None; {run}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "download.pytorch.org/whl/cpu" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_machine_without_torch_tracks(tmp_path: Path) -> None:
    video, boxes = write_video(tmp_path / "clip.mp4", 5), tmp_path / "boxes.txt"
    box = ",".join(map(str, square_box(0)))
    code = "import sys; sys.modules['torch'] = None; from tctrack.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "track", str(video), "--box", box, "--boxes", str(boxes)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(boxes.read_text().splitlines()) == 5
    model = [*command, "--model", "tctrack"]
    refused = subprocess.run(model, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert refused.returncode == 2
    assert "pip install torch" in refused.stderr
