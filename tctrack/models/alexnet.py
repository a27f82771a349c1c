"""TAda-AlexNet: AlexNet without padding, with Online-TAdaConv in its last two convolutions (TCTrack, section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from tctrack.ops.online_tadaconv import AttentionTAdaConv2d, OnlineTAdaConv2d, WindowTAdaConv2d

Calibration = Literal["window", "attention"]
CALIBRATIONS: dict[Calibration, type[OnlineTAdaConv2d]] = {
    "window": WindowTAdaConv2d,
    "attention": AttentionTAdaConv2d,
}
STRIDE = 8


class TAdaAlexNet(nn.Module):
    """BGR images 0–255 to features at stride 8: 127 → 6, 287 → 26 cells along a side.

    Args:
        calibration: ``window`` for TCTrack's Online-TAdaConv, ``attention`` for TCTrack++'s.
        channels: of the five convolutions.
    """

    def __init__(
        self, calibration: Calibration, channels: tuple[int, int, int, int, int] = (96, 256, 384, 384, 256)
    ) -> None:
        super().__init__()
        c1, c2, c3, c4, c5 = channels
        adaptive = CALIBRATIONS[calibration]
        self.block1 = nn.Sequential(nn.Conv2d(3, c1, 11, 2), nn.BatchNorm2d(c1), nn.MaxPool2d(3, 2), nn.ReLU())
        self.block2 = nn.Sequential(nn.Conv2d(c1, c2, 5), nn.BatchNorm2d(c2), nn.MaxPool2d(3, 2), nn.ReLU())
        self.block3 = nn.Sequential(nn.Conv2d(c2, c3, 3), nn.BatchNorm2d(c3), nn.ReLU())
        self.temporalconv1 = adaptive(c3, c4, 3)
        self.b_f1 = nn.Sequential(nn.BatchNorm2d(c4), nn.ReLU())
        self.temporalconv2 = adaptive(c4, c5, 3)
        self.b_f2 = nn.BatchNorm2d(c5)

    def learning(self) -> tuple[nn.Module, ...]:
        """Return the layers that learn, as published; the first two blocks keep the weights that they start from."""
        return self.block3, self.temporalconv1, self.b_f1, self.temporalconv2, self.b_f2

    def run(
        self, frames: Tensor, caches: Sequence[Tensor] | None = None, length: int = 1
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Map the frames ``(B T, 3, H, W)`` of ``B`` streams, ``T = length`` each, that follow ``caches``.

        Returns:
            the features ``(B T, C, H/8, W/8)`` and the caches of the two Online-TAdaConv.
        """
        first, second = caches if caches is not None else (None, None)
        x = self.block3(self.block2(self.block1(frames)))
        x, first = self.temporalconv1.run(x, first, length)
        x, second = self.temporalconv2.run(self.b_f1(x), second, length)
        return self.b_f2(x), (first, second)
