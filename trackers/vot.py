"""Our trackers under the VOT toolkit, which starts them as processes and talks to them over TraX.

In the workspace's ``trackers.ini``::

    [tctrack-lite]
    label = tctrack-lite
    protocol = trax
    command = python -m trackers.vot tctrack-lite penalty_k=0.04

Source of the protocol: Cehovin, "TraX: the visual tracking exchange protocol and library", Neurocomputing 2017.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from tctrack.config import parse_yaml
from tctrack.errors import ConfigError, SourceError, TCTrackError, require
from tctrack.types import Frame
from tctrack.video import read_image
from trackers.registry import build_tracker


def serve(name: str, **options: Any) -> None:
    """Answer the toolkit's requests on standard input until it quits: rectangles on colour images given as paths.

    Args:
        name: registered name of the tracker.
        options: passed to :func:`trackers.build_tracker`.

    Raises:
        DependencyError: the package of the protocol is not installed.
        SourceError: an image cannot be read.
    """
    trax = require("trax", "vot")
    tracker = build_tracker(name, **options)
    with trax.Server([trax.Region.RECTANGLE], [trax.Image.PATH], tracker_name=name) as server:
        while True:
            request = server.wait()
            if request.type == trax.TraxStatus.QUIT:
                return
            frame = _read(request.image["color"].path())
            if request.type == trax.TraxStatus.INITIALIZE:
                region, _ = request.objects[0]
                box, score = region.bounds(), None
                tracker.init(frame, box)
            else:
                box, score, *_ = tracker.update(frame)
            confidence = {} if score is None else {"confidence": score}
            server.status([(trax.Rectangle.create(*box), confidence)])


def _read(path: str) -> Frame:
    frame = read_image(Path(path))
    if frame is None:
        raise SourceError(f"cannot read image {path}")
    return frame


if __name__ == "__main__":
    try:
        if len(sys.argv) < 2:
            raise ConfigError("name a tracker: python -m trackers.vot NAME [key=value ...]")
        pairs = [pair.partition("=") for pair in sys.argv[2:]]
        serve(sys.argv[1], **{key: parse_yaml(value, f"option '{key}'") for key, _, value in pairs})
    except TCTrackError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
