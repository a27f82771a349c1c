"""Make any network temporally adaptive: replace its convolutions by TAdaConvs that keep their weights."""

from __future__ import annotations

import copy
import fnmatch
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeAlias

from torch import Tensor, nn

from tctrack.errors import ConfigError
from tctrack.ops.tadaconv import AdaptiveCache, AdaptiveConv, Calibrate

#: What the TAdaConvs of one network remember of a stream, by layer name; its size is constant.
StreamCache: TypeAlias = Mapping[str, AdaptiveCache]
Convolution: TypeAlias = nn.Conv2d | nn.Conv3d
Where: TypeAlias = str | Callable[[str, Convolution], bool]


def tadaptify(
    model: nn.Module,
    where: Where | None = None,
    calibrate: Calibrate = "cin",
    ratio: int = 4,
    kernels: tuple[int, int] = (3, 3),
    *,
    causal: bool = False,
    fold: bool = True,
) -> TemporallyAdaptive:
    """Return a temporally adaptive copy of a network for images or clips; its output is the same until it is trained.

    Args:
        model: any network with Conv2d layers (over frames) or Conv3d layers (over clips).
        where: the layers to replace: a pattern of their names such as ``"layer[34].*.conv2"``, or a function of name
            and layer. None takes every convolution larger than 1×1 that has at least ``2 * ratio`` input channels.
        calibrate: the calibrated channels of the kernels.
        ratio: the route functions reduce the channels by this factor.
        kernels: temporal kernel sizes of the route functions.
        causal: let frames see only the past, so that the network can stream. A Conv3d over ``kt`` frames then ends at
            the present one, and so differs from the original where ``kt > 1``.
        fold: whether a network of Conv2d layers takes frames ``(B * T, C, H, W)``; False for one that takes clips and
            folds them itself, frame by frame within each clip.

    Raises:
        ConfigError: no layer fits, a layer cannot be replaced, or a causal network would still mix frames elsewhere.
    """
    network = copy.deepcopy(model)
    convolutions = {
        name: layer
        for name, layer in network.named_modules(remove_duplicate=False)
        if isinstance(layer, (nn.Conv2d, nn.Conv3d)) and type(layer) in (nn.Conv2d, nn.Conv3d) and name
    }
    accept = _selector(where, ratio)
    chosen = {name: layer for name, layer in convolutions.items() if accept(name, layer)}
    if not chosen:
        examples = ", ".join(list(convolutions)[:3]) or "none at all"
        raise ConfigError(f"where={where!r} fits no convolution of the network; it has {examples}")
    plugged: dict[Convolution, _PluggedConv] = {}
    replaced = []
    for name, plain in chosen.items():
        if plain not in plugged:
            try:
                layer = _PluggedConv(name, plain, calibrate, ratio=ratio, kernels=kernels, causal=causal)
            except ConfigError as error:
                raise ConfigError(f"layer '{name}': {error}") from None
            plugged[plain] = layer.train(plain.training)
            replaced.append(_describe(name, plain, layer))
        parent, _, child = name.rpartition(".")
        setattr(network.get_submodule(parent), child, plugged[plain])
    over_clips = any(isinstance(plain, nn.Conv3d) for plain in chosen.values())
    if causal:
        _refuse_mixing(network)
    return TemporallyAdaptive(network, Report(tuple(replaced)), fold=fold and not over_clips, causal=causal)


class Replaced(NamedTuple):
    """One replaced layer and what its route function adds."""

    name: str
    plain: str
    parameters: int
    macs_per_frame: int
    macs_per_clip: int


class Report(NamedTuple):
    """What :func:`tadaptify` replaced; ``str()`` gives a table."""

    layers: tuple[Replaced, ...]

    @property
    def parameters(self) -> int:
        """Parameters added."""
        return sum(layer.parameters for layer in self.layers)

    def macs(self, frames: int) -> int:
        """Return the multiply-adds that the route functions spend on a clip; they do not depend on its resolution."""
        return sum(layer.macs_per_frame * frames + layer.macs_per_clip for layer in self.layers)

    def __str__(self) -> str:
        width = max(len(layer.name) for layer in self.layers)
        rows = [f"{layer.name:{width}}  +{layer.parameters:,} parameters  {layer.plain}" for layer in self.layers]
        total = f"{len(self.layers)} layers, +{self.parameters:,} parameters, +{self.macs(8):,} MACs on 8 frames"
        return "\n".join([*rows, total])


class _Pass(NamedTuple):
    """What the layers need to know of the forward pass that runs."""

    frames: int
    streams: bool
    before: StreamCache
    after: dict[str, AdaptiveCache]


_running: ContextVar[_Pass | None] = ContextVar("forward pass of a temporally adaptive network", default=None)


class TemporallyAdaptive(nn.Module):
    """A network whose convolutions adapt to their clip; made by :func:`tadaptify`.

    Attributes:
        network: the adapted network.
        report: what was replaced and what it costs.
    """

    def __init__(self, network: nn.Module, report: Report, *, fold: bool, causal: bool) -> None:
        super().__init__()
        self.network, self.report, self.fold, self.causal = network, report, fold, causal

    def forward(self, clip: Tensor) -> Any:
        """Run on a clip ``(B, C, T, H, W)``; return what the network returns for it, or for its ``B * T`` frames."""
        return self._run(clip, None)[0]

    def start(self, x: Tensor) -> tuple[Any, StreamCache]:
        """Run on the first frame ``(B, C, H, W)`` of a stream; return the output and the cache.

        Raises:
            ConfigError: the network is not causal.
        """
        return self.step(x, {})

    def step(self, x: Tensor, cache: StreamCache) -> tuple[Any, StreamCache]:
        """Run on the next frame ``(B, C, H, W)`` of a stream; return the output and the new cache."""
        if not self.causal:
            raise ConfigError("this network sees whole clips and cannot stream; adapt it with causal=True")
        return self._run(x[:, :, None], cache)

    def _run(self, clip: Tensor, cache: StreamCache | None) -> tuple[Any, StreamCache]:
        current = _Pass(clip.shape[2], cache is not None, cache or {}, {})
        token = _running.set(current)
        try:
            return self.network(clip.transpose(1, 2).flatten(0, 1) if self.fold else clip), current.after
        finally:
            _running.reset(token)


class _PluggedConv(AdaptiveConv):
    """A TAdaConv in the place of a convolution, which takes what that took."""

    def __init__(self, name: str, plain: Convolution, calibrate: Calibrate, **options: Any) -> None:
        super().__init__(plain, calibrate, **options)
        self.name = name
        self.over_frames = isinstance(plain, nn.Conv2d)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve clips ``(B, C, T, H, W)``, or in place of a Conv2d their frames ``(B * T, C, H, W)``."""
        current = _running.get()
        if current is None:
            raise ConfigError(f"layer '{self.name}' needs its clip: call the model that tadaptify returned")
        clip = x.view(-1, current.frames, *x.shape[1:]).transpose(1, 2) if self.over_frames else x
        if current.streams:
            if self.name in current.after:
                raise ConfigError(f"layer '{self.name}' is used twice in a forward pass; such a network cannot stream")
            output, current.after[self.name] = self.run(clip, current.before.get(self.name))
        else:
            output = super().forward(clip)
        return output.transpose(1, 2).flatten(0, 1) if self.over_frames else output


def _selector(where: Where | None, ratio: int) -> Callable[[str, Convolution], bool]:
    if where is None:
        return lambda _, conv: max(conv.kernel_size) > 1 and conv.in_channels >= 2 * ratio
    if isinstance(where, str):
        return lambda name, _: fnmatch.fnmatchcase(name, where)
    return where


def _describe(name: str, plain: Convolution, layer: AdaptiveConv) -> Replaced:
    route = layer.route
    per_frame, per_clip = route.a.weight.numel() + route.b.weight.numel(), route.g.weight.numel()
    if route.causal:  # its clip mean runs along
        per_frame, per_clip = per_frame + per_clip, 0
    return Replaced(name, str(plain), sum(p.numel() for p in route.parameters()), per_frame, per_clip)


def _refuse_mixing(network: nn.Module) -> None:
    """Raise for layers outside the TAdaConvs through which frames would see the future."""
    inside = {id(part) for layer in network.modules() if isinstance(layer, AdaptiveConv) for part in layer.modules()}
    for name, layer in network.named_modules():
        if id(layer) in inside:
            continue
        sizes = [getattr(layer, key, 1) for key in ("kernel_size", "stride")]
        over_time = [size[0] if isinstance(size, tuple) else size for size in sizes]
        if isinstance(layer, (nn.Conv3d, nn.MaxPool3d, nn.AvgPool3d)) and max(over_time) > 1:
            raise ConfigError(
                f"layer '{name}' mixes frames, so the network cannot be causal: replace it too, or drop it"
            )
