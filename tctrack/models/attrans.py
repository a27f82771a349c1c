"""AT-Trans: the adaptive temporal transformer that refines similarity maps with a memory (TCTrack, section 3.4)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def to_map(tokens: Tensor, released_layout: bool) -> Tensor:
    """Lay the tokens ``(B, S, C)`` of a square map out as ``(B, C, √S, √S)``.

    The code that trained the released weights reinterprets the memory of ``(S, C)`` as ``(C, S)`` in places, which
    scrambles positions and channels in a fixed way; ``released_layout`` does the same to every sample.
    """
    batch, positions, channels = tokens.shape
    side = round(int(positions) ** 0.5)  # while traced, it is a tensor
    if not released_layout:
        tokens = tokens.transpose(1, 2)
    return tokens.reshape(batch, channels, side, side)


def to_tokens(maps: Tensor) -> Tensor:
    """Return the positions of ``(B, C, H, W)`` as tokens ``(B, H W, C)``."""
    return maps.flatten(2).transpose(1, 2)


class _Attention(nn.MultiheadAttention):
    """Multi-head attention of tokens ``(B, S, C)`` that returns the tokens alone."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__(dim, heads, dropout, batch_first=True)

    def forward(self, query: Tensor, source: Tensor) -> Tensor:  # type: ignore[override]
        """Let ``query`` attend to ``source``."""
        output: Tensor = super().forward(query, source, source, need_weights=False)[0]
        return output


class TemporalInformationFilter(nn.Module):
    """Gates the memory by the current frame (TCTrack, equation 9)."""

    def __init__(self, dim: int, hidden: int = 32, dropout: float = 0.5) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(nn.ConvTranspose2d(2 * dim, dim, 1))
        self.conv2 = nn.Sequential(nn.Conv2d(dim, dim, 3, 3), nn.BatchNorm2d(dim), nn.ReLU())
        self.linear1 = nn.Conv2d(dim, hidden, 1, bias=False)
        self.linear2 = nn.Conv2d(hidden, dim, 1, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Filter the map ``x`` by ``y``, both ``(B, C, H, W)``."""
        pooled = self.conv2(y).mean((-2, -1), keepdim=True)
        weight = self.linear2(self.dropout(F.relu(self.linear1(pooled))))
        gate = self.conv1(torch.cat((x, y), 1))
        filtered: Tensor = x + self.gamma * (gate * weight) * x
        return filtered


class EncoderLayer(nn.Module):
    """Updates the memory by the frame's map."""

    def __init__(self, dim: int, heads: int, dropout: float, released_layout: bool) -> None:
        super().__init__()
        self.released_layout = released_layout
        self.self_attn1 = _Attention(dim, heads, dropout)
        self.self_attn2 = _Attention(dim, heads, dropout)
        self.self_attn3 = _Attention(dim, heads, dropout)
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.modulation = TemporalInformationFilter(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, frame: Tensor, memory: Tensor) -> Tensor:
        """Return the new memory; all tokens are ``(B, S, C)``."""
        a = self.norm1(frame + self.dropout(self.self_attn1(memory, frame)))
        b = self.norm2(a + self.dropout(self.self_attn2(a, a)))
        filtered = self.modulation(to_map(b, self.released_layout), to_map(a, self.released_layout))
        m = to_tokens(filtered)
        output: Tensor = self.norm3(m + self.dropout(self.self_attn3(m, m)))
        return output


class DecoderLayer(nn.Module):
    """Refines the frame's map with the memory."""

    def __init__(self, dim: int, heads: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = _Attention(dim, heads, dropout)
        self.multihead_attn1 = _Attention(dim, heads, dropout)
        self.norm1, self.norm2, self.norm4 = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.linear1, self.linear2 = nn.Linear(dim, feedforward), nn.Linear(feedforward, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, frame: Tensor, memory: Tensor) -> Tensor:
        """Return the refined tokens; all tokens are ``(B, S, C)``."""
        t = self.norm1(frame + self.dropout(self.self_attn(frame, frame)))
        t = self.norm2(t + self.dropout(self.multihead_attn1(t, memory)))
        output: Tensor = self.norm4(t + self.dropout(self.linear2(self.dropout(F.relu(self.linear1(t))))))
        return output


class _Stack(nn.Module):
    """Layers one after another, then a norm (the published keys ``layers.N``, ``norm``)."""

    def __init__(self, layers: list[nn.Module], dim: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.norm = nn.LayerNorm(dim)


class Encoder(_Stack):
    """Encoder layers in sequence, each updating the memory."""

    def forward(self, frame: Tensor, memory: Tensor) -> Tensor:
        """Return the new memory of ``(B, S, C)`` tokens."""
        for layer in self.layers:
            memory = layer(frame, memory)
        output: Tensor = self.norm(memory)
        return output


class Decoder(_Stack):
    """Decoder layers in sequence, each refining the frame."""

    def forward(self, frame: Tensor, memory: Tensor) -> Tensor:
        """Return the refined ``(B, S, C)`` tokens."""
        for layer in self.layers:
            frame = layer(frame, memory)
        output: Tensor = self.norm(frame)
        return output


class ATTrans(nn.Module):
    """The transformer: an encoder that keeps the memory and a decoder that refines the map with it.

    Args:
        dim: channels of the maps.
        heads: attention heads.
        feedforward: hidden width of the decoder's MLPs.
        encoder_layers: layers that update the memory.
        decoder_layers: layers that refine the map.
        dropout: rate in training.
        released_layout: see :func:`to_map`.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        feedforward: int,
        encoder_layers: int = 1,
        decoder_layers: int = 2,
        dropout: float = 0.1,
        released_layout: bool = False,
    ) -> None:
        super().__init__()
        self.released_layout = released_layout
        self.encoder = Encoder([EncoderLayer(dim, heads, dropout, released_layout) for _ in range(encoder_layers)], dim)
        self.decoder = Decoder([DecoderLayer(dim, heads, feedforward, dropout) for _ in range(decoder_layers)], dim)

    def forward(self, frame: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Refine a frame's map with the memory, both ``(B, C, S, S)``; return the map and the new memory."""
        tokens = to_tokens(frame)
        encoded = self.encoder(tokens, to_tokens(memory))
        refined = self.decoder(tokens, encoded)
        return to_map(refined, released_layout=False), to_map(encoded, self.released_layout)
