"""Processes that train beside each other on the same computer."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TypeVar

import torch

from hiss.training.memory import keep_freed_memory

T = TypeVar("T")
R = TypeVar("R")


def become_worker() -> None:
    """One thread, freed memory kept; and where whoever started this process dies, by whatever signal, it ends too."""
    torch.set_num_threads(1)
    keep_freed_memory()
    if parent := multiprocessing.parent_process():

        def leave() -> None:
            parent.join()
            os._exit(1)  # training knows how to go on from what it has written

        threading.Thread(target=leave, daemon=True).start()


def as_done(work: Callable[[T], R], todo: Sequence[T], jobs: int) -> Iterator[R]:
    """work(item) for each of them in `jobs` processes: what it gives, as they end. What it raises ends them all."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=spawn, initializer=become_worker) as pool:
        started = [pool.submit(work, item) for item in todo]
        try:
            for job in as_completed(started):
                yield job.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
