"""Track a target with the Python interface: python demo/follow.py VIDEO X,Y,W,H

One network serves every target: build it once, and give each target a tracker of its own.
"""

from __future__ import annotations

import sys

import tctrack
import trackers
from tctrack.video import open_source


def main(video: str, box: str) -> None:
    model = tctrack.load_model("tctrack-lite")
    tracker = trackers.build_tracker("tctrack-lite", model=model)
    with open_source(video) as frames:
        for number, frame in enumerate(frames):
            if number == 0:
                tracker.init(frame, tuple(float(value) for value in box.split(",")))
                continue
            result = tracker.update(frame)
            print(number, *(f"{value:.1f}" for value in result.box), f"{result.score:.2f}")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:3])
    except (TypeError, ValueError):
        sys.exit(__doc__)
    except tctrack.TCTrackError as error:
        sys.exit(f"error: {error}")
