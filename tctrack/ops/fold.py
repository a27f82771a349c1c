"""Folding batch norms into convolutions, for inference."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import TypeVar

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

ModuleType = TypeVar("ModuleType", bound=nn.Module)


def fold_batch_norms(network: ModuleType) -> ModuleType:
    """Return a copy of a network, in evaluation mode, without the batch norms that follow a convolution.

    A ``BatchNorm2d`` that is a module's next child after a ``Conv2d`` is taken to read that convolution's output. The
    copy computes the same to rounding.
    """
    folded = copy.deepcopy(network).eval()
    for module in list(folded.modules()):
        for (conv_name, conv), (norm_name, norm) in pairwise(list(module.named_children())):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, conv_name, fuse_conv_bn_eval(conv, norm))
                setattr(module, norm_name, nn.Identity())
    return folded
