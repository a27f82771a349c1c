"""Training in several processes that share every batch."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from tctrack.checkpoint import pick_device

#: How long a process waits for another, which may be validating.
_PATIENCE = timedelta(hours=12)


def is_first() -> bool:
    """Whether this process is alone or the first of those that torchrun started: the one that writes and prints."""
    return os.environ.get("RANK", "0") == "0"


class Processes:
    """The processes that torchrun started, or this one alone; a context that joins and leaves them.

    On GPUs each process takes the one of its ``LOCAL_RANK`` and they talk over NCCL, else over Gloo.

    Args:
        device: name of the device, as of :func:`tctrack.checkpoint.pick_device`.

    Raises:
        DependencyError: the device is not there.
    """

    def __init__(self, device: str) -> None:
        self.device = pick_device(device)
        self.rank, self.count = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        if self.count > 1 and self.device.type == "cuda":
            self.device = pick_device(f"cuda:{os.environ['LOCAL_RANK']}")

    def __enter__(self) -> Processes:
        if self.count > 1:
            if self.device.type == "cuda":
                torch.cuda.set_device(self.device)
            dist.init_process_group("nccl" if self.device.type == "cuda" else "gloo", timeout=_PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        if self.count > 1:
            dist.destroy_process_group()

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum over all processes; no gradient passes through it."""
        if self.count > 1:
            values = values.clone()
            dist.all_reduce(values)
        return values

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace every gradient by its sum over all processes."""
        if self.count > 1:
            gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
            total = torch.cat([gradient.flatten() for gradient in gradients])
            dist.all_reduce(total)
            for gradient, part in zip(gradients, torch.split(total, [each.numel() for each in gradients]), strict=True):
                gradient.copy_(part.view_as(gradient))

    def share_batch_norms(self, network: nn.Module) -> None:
        """Put batch norms that take their statistics over all processes in the place of a network's own.

        Parameters and buffers stay the same ones.
        """
        if self.count > 1:
            for parent in list(network.modules()):
                for name, child in parent.named_children():
                    if type(child) is nn.BatchNorm2d:
                        setattr(parent, name, SharedBatchNorm2d(child))


class SharedBatchNorm2d(nn.BatchNorm2d):
    """A batch norm over the batches ``(B, C, H, W)`` of all processes, which must be of one size.

    It computes what :class:`torch.nn.BatchNorm2d` computes of the whole batch. Unlike
    :class:`torch.nn.SyncBatchNorm`, it runs on CPUs too.

    Args:
        norm: whose parameters and buffers to share.
    """

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum)
        self.weight, self.bias, self.training = norm.weight, norm.bias, norm.training
        self.running_mean, self.running_var = norm.running_mean, norm.running_var
        self.num_batches_tracked = norm.num_batches_tracked

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(B, C, H, W)``, in training by the statistics of all processes."""
        if not self.training:
            return super().forward(x)
        wide = x.float()
        count = wide.numel() // wide.shape[1] * dist.get_world_size()
        mean = _total(wide.sum((0, 2, 3))) / count
        centred = wide - mean[:, None, None]
        variance = _total(centred.square().sum((0, 2, 3))) / count
        self._remember(mean.detach(), variance.detach() * count / (count - 1))
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        assert self.num_batches_tracked is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.momentum is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)


class _Total(torch.autograd.Function):
    """The sum over all processes, through which gradients pass."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        # Every process's values are in every process's total.
        return _Total.forward(ctx, gradient)


def _total(values: Tensor) -> Tensor:
    total: Tensor = _Total.apply(values)  # type: ignore[no-untyped-call]
    return total
