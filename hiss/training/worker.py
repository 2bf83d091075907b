"""A process that trains beside others on the same computer."""

from __future__ import annotations

import multiprocessing
import os
import threading

import torch

from hiss.training.memory import keep_freed_memory


def become_worker() -> None:
    """One thread, freed memory kept; and where whoever started this process dies, by whatever signal, it ends too."""
    torch.set_num_threads(1)
    keep_freed_memory()
    if parent := multiprocessing.parent_process():

        def leave() -> None:
            parent.join()
            os._exit(1)  # training knows how to go on from what it has written

        threading.Thread(target=leave, daemon=True).start()
