"""What a computation may use: a device, worker threads, and memory for the modules that are in flight."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch

from arithmetic.errors import AlgebraError

Item = TypeVar("Item")
Result = TypeVar("Result")

DEFAULT_WORKERS = 2
DEFAULT_MEMORY = 256 << 20
LEAST_MEMORY = 1 << 20


@dataclass(frozen=True)
class Resources:
    """Where and how widely to compute. Results do not depend on `workers` or `memory`, bit for bit."""

    device: str = "cpu"
    """As torch names it: cpu, cuda, cuda:1, mps. What needs float64 where there is none is computed on the CPU."""
    workers: int = DEFAULT_WORKERS
    """Modules that are computed side by side, one thread each."""
    memory: int = DEFAULT_MEMORY
    """Bytes that the modules in flight may take together; one module always may be."""

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise AlgebraError(f"workers: got {self.workers}, expected at least 1.")
        if self.memory < LEAST_MEMORY:
            raise AlgebraError(f"memory: got {self.memory} bytes, expected at least {LEAST_MEMORY} (1 MiB).")
        try:
            torch.empty(0, device=self.device)
        except (RuntimeError, AssertionError) as error:
            first = str(error).splitlines()[0]
            raise AlgebraError(
                f"device {self.device!r}: {first.rstrip('.')}. Name one that this machine has, such as cpu."
            ) from error

    @property
    def exact_device(self) -> str:
        """The device for float64, which Apple's has not."""
        return "cpu" if torch.device(self.device).type == "mps" else self.device


DEFAULT_RESOURCES = Resources()


def in_order(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    resources: Resources,
    size: Callable[[Item], int] = lambda _: 0,
) -> Generator[Result]:
    """function(item) of every item, in their order, by `resources.workers` threads of one torch thread each.

    `size` tells how many bytes an item takes while it is in flight: as many are as the budget allows. An exception,
    also one that the caller raises between two results, stops what has not begun and waits for what has; close the
    generator when it is left early.
    """
    with (
        single_threaded(),
        ThreadPoolExecutor(resources.workers, initializer=torch.set_num_threads, initargs=(1,)) as pool,
    ):
        flying: deque[tuple[Future[Result], int]] = deque()
        taken = 0
        try:
            for item in items:
                needed = size(item)
                while flying and (taken + needed > resources.memory or len(flying) >= 4 * resources.workers):
                    future, freed = flying.popleft()
                    taken -= freed
                    yield future.result()
                flying.append((pool.submit(function, item), needed))
                taken += needed
            while flying:
                yield flying.popleft()[0].result()
        finally:
            for future, _ in flying:
                future.cancel()


def done_in_order(tasks: Iterable[Callable[[], Result]], resources: Resources) -> Generator[Result]:
    """The results of `tasks`, as `in_order`."""
    return in_order(lambda task: task(), tasks, resources)


@contextmanager
def single_threaded() -> Iterator[None]:
    """One torch thread a module: QR and SVD differ in their last bits between one thread and two."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
