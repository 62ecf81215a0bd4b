"""Work on many tensors at once: a few threads, one tensor each, results in the order of the tasks."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

T = TypeVar("T")

MOST_WORKERS = 8
"""More threads than this wait for memory, not for arithmetic."""

AHEAD = 2
"""Tasks a worker that may be done before their results are taken: the bound of the memory used."""


def worker_count(workers: int | None) -> int:
    """`workers`, or as many as this process may use at once."""
    if workers is not None:
        return max(1, workers)
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(available, MOST_WORKERS)


def in_order(tasks: Iterable[Callable[[], T]], workers: int) -> Generator[T]:
    """The results of `tasks` in their order. Raises what a task raises; those that have not begun are dropped then.

    Close it when it is left early: it waits for what is under way.
    """
    with ThreadPoolExecutor(workers, thread_name_prefix="arithmetic") as pool:
        waiting: deque[Future[T]] = deque()
        try:
            for task in tasks:
                waiting.append(pool.submit(task))
                if len(waiting) > AHEAD * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Let torch use one thread an operation: the bits of a product then do not depend on the number of workers."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
