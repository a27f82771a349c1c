"""Batches of a data set, made in worker processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import cv2
from torch.utils.data import DataLoader, Dataset

from tctrack.errors import DatasetError
from tctrack.plumbing.processes import Processes


def load_batches(
    dataset: Dataset[Any],
    order: Sequence[int],
    size: int,
    processes: Processes,
    workers: int,
    collate: Callable[[list[Any]], Any] | None = None,
) -> Iterator[Any]:
    """Yield this process's batches, of the samples ``rank``, ``rank + count``, … of an order.

    Samples that do not fill a batch of every process are left out.

    Args:
        dataset: the samples.
        order: their indices.
        size: samples of a batch of one process.
        processes: that share the samples.
        workers: processes that make samples, for each one that trains; 0 for none beside it.
        collate: makes a batch of samples; PyTorch's way unless given.

    Raises:
        DatasetError: a sample cannot be made.
    """
    cv2.setNumThreads(0)  # OpenCV's thread pool does not survive the fork of the workers
    whole = len(order) - len(order) % (size * processes.count)
    loader: DataLoader[Any] = DataLoader(
        dataset,
        size,
        sampler=order[processes.rank : whole : processes.count],
        num_workers=workers,
        collate_fn=collate,
        pin_memory=processes.device.type == "cuda",
    )
    try:
        yield from loader
    except DatasetError as error:  # a worker's message is its whole traceback
        raise DatasetError(str(error).splitlines()[-1].removeprefix("tctrack.errors.DatasetError: ")) from None
