"""Folding batch norms into convolutions, for inference."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import TypeVar

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_conv_bn_weights

from tctrack.ops.online_tadaconv import OnlineTAdaConv2d

ModuleType = TypeVar("ModuleType", bound=nn.Module)


def fold_batch_norms(network: ModuleType) -> ModuleType:
    """Return a copy of a network, in evaluation mode, without the batch norms that follow a convolution.

    A ``BatchNorm2d`` that is a module's next child after a ``Conv2d``, or after an Online-TAdaConv without bias, is
    taken to read that convolution's output. The copy computes the same to rounding.
    """
    folded = copy.deepcopy(network).eval()
    for module in list(folded.modules()):
        for (conv_name, conv), (norm_name, norm) in pairwise(list(module.named_children())):
            if not isinstance(norm, nn.BatchNorm2d):
                continue
            if isinstance(conv, nn.Conv2d):
                setattr(module, conv_name, fuse_conv_bn_eval(conv, norm))
            elif isinstance(conv, OnlineTAdaConv2d) and conv.bias is None:
                assert norm.running_mean is not None
                assert norm.running_var is not None
                weight, bias = fuse_conv_bn_weights(
                    conv.weight[0, 0], None, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
                )
                conv.weight, conv.bias = nn.Parameter(weight[None, None]), nn.Parameter(bias[None, None])
            else:
                continue
            setattr(module, norm_name, nn.Identity())
    return folded
