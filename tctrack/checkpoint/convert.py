"""The checkpoints that the authors of TCTrack and TCTrack++ released."""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from tctrack.checkpoint.io import Checkpoint
from tctrack.errors import CheckpointError

#: Modules that the released files hold and no forward pass uses.
UNUSED = re.compile(
    r"(grader\.conv3?|grader\.transformer\.(encoder\.layers\.\d+\.(cross_attn|norm0)"
    r"|decoder\.layers\.\d+\.(multihead_attn2|norm3)))\."
)


class Conversion(NamedTuple):
    """A checkpoint that says what it is, and the unused keys that it no longer holds."""

    checkpoint: Checkpoint
    dropped: tuple[str, ...]


def convert_released(checkpoint: Checkpoint) -> Conversion:
    """Name the architecture by the keys, ask for the released memory layout, and drop unused keys.

    Raises:
        CheckpointError: the keys are those of no released network.
    """
    keys = checkpoint.tensors.keys()
    if "backbone.temporalconv1.attentionintegrate.query_conv.weight" in keys:
        architecture = "tctrack++"
    elif "backbone.temporalconv1.temporalconv.weight" in keys:
        architecture = "tctrack"
    else:
        raise CheckpointError(
            f"the keys of the checkpoint ('{min(keys)}', …) fit neither TCTrack nor TCTrack++, "
            "and it does not name its architecture"
        )
    dropped = tuple(key for key in keys if UNUSED.match(key))
    tensors = {key: value for key, value in checkpoint.tensors.items() if key not in dropped}
    about = {"architecture": architecture, "config": json.dumps({"released_layout": True})}
    return Conversion(Checkpoint(tensors, checkpoint.metadata | about), dropped)
