"""1×1 convolution as a matrix product."""

from __future__ import annotations

from torch import Tensor, nn


class Pointwise(nn.Conv2d):
    """A 1×1 convolution with the parameters of ``nn.Conv2d``, computed as a matrix product.

    In bfloat16 on a CPU, oneDNN's backward pass through a few 1×1 convolutions costs more than the rest of the
    tracker's; that of a matrix product does not.
    """

    def __init__(self, in_channels: int, out_channels: int, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, 1, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to ``(B, C', H, W)``."""
        output = self.weight.flatten(1) @ input.flatten(2)
        if self.bias is not None:
            output = output + self.bias[:, None]
        return output.reshape(len(input), -1, *input.shape[2:])
