"""Several processes on one training: each takes its share of every batch, and gradients are averaged.

The first process is the one that was asked to train; it starts the others, which run the same function. It alone
reports, paints, writes checkpoints and exports. Torch's process group, opened by accelerate, joins them.
"""

import multiprocessing
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import wraps
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, ParamSpec

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, patch_environment, reduce
from torch import distributed, nn

from distill_jobs.errors import DistillError, Interrupted, ProcessLost
from distill_jobs.training.compute import ComputeSettings

SECONDS_TO_NOTICE = 30.0
"""How long a process may go on after another one was lost."""
FAILED = 1

P = ParamSpec("P")


class Dismissed(Exception):
    """The training is over for every process but the first, which alone goes on with the result."""


@dataclass(frozen=True)
class Company:
    """The place of this process among those of a training."""

    rank: int
    size: int

    @property
    def leads(self) -> bool:
        """Whether this process is the first."""
        return self.rank == 0

    def agreed(self, ask: Callable[[], str | None]) -> str | None:
        """What the first process's `ask` answers, in every process."""
        if self.size == 1:
            return ask()
        answers = [ask() if self.leads else None]
        broadcast_object_list(answers, from_process=0)
        return answers[0]

    def dismiss(self) -> None:
        """End the training here unless this process is the first. Raises Dismissed."""
        if not self.leads:
            raise Dismissed

    @torch.no_grad()
    def average(self, value: float, parameters: Iterable[nn.Parameter]) -> float:
        """Make every gradient its mean over the processes, and return the mean of `value`."""
        if self.size == 1:
            return value
        gradients = []
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
        flat = torch.cat([*(gradient.flatten() for gradient in gradients), gradients[0].new_tensor([value])])
        parts = reduce(flat, "mean").split([*(gradient.numel() for gradient in gradients), 1])
        for gradient, part in zip(gradients, parts, strict=False):
            gradient.copy_(part.view_as(gradient))
        return float(parts[-1])


def company() -> Company:
    """This process's company; a process that trains alone is the first of one."""
    if distributed.is_available() and distributed.is_initialized():
        return Company(distributed.get_rank(), distributed.get_world_size())
    return Company(0, 1)


@contextmanager
def first_alone() -> Iterator[None]:
    """The first process runs the block before the others do, so that they find what it wrote."""
    if company().size == 1:
        yield
        return
    with PartialState().main_process_first():
        yield


def in_processes(train: Callable[P, Path]) -> Callable[P, Path]:
    """`train` run by as many processes as its settings ask for: the first of its arguments that are ComputeSettings.

    Raises ProcessLost when another process ended before its time.
    """

    @wraps(train)
    def run(*args: P.args, **options: P.kwargs) -> Path:
        given = (*args, *options.values())
        settings = next(argument for argument in given if isinstance(argument, ComputeSettings))
        if settings.processes == 1 or company().size > 1:
            return train(*args, **options)
        with _peers(run, args, options, settings):
            return train(*args, **options)

    return run


@contextmanager
def _peers(run: Callable[..., Path], args: Sequence[Any], options: Any, settings: ComputeSettings) -> Iterator[None]:
    """Inside, this process is the first of a company whose others run `run`."""
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="tau-processes-") as folder:
        meeting = f"file://{folder}/meeting"
        own = {name: QUIET.get(name, option) for name, option in options.items()}
        peers = [
            spawn.Process(
                target=_peer,
                args=(Company(rank, settings.processes), meeting, run, tuple(args), own, settings, _threads()),
                daemon=True,
            )
            for rank in range(1, settings.processes)
        ]
        for peer in peers:
            peer.start()
        over = threading.Event()
        threading.Thread(target=_end_with, args=(peers, over), daemon=True).start()
        try:
            with _joined(Company(0, settings.processes), meeting, settings):
                yield
                for peer in peers:
                    peer.join(SECONDS_TO_NOTICE)
        except DistillError:
            raise
        except Exception as error:
            if lost := _lost(peers):
                raise ProcessLost(
                    f"of {settings.processes} training processes, {lost} ended; its own words are in the log"
                ) from error
            raise
        finally:
            over.set()
            _end(peers)


@contextmanager
def _joined(place: Company, meeting: str, settings: ComputeSettings) -> Iterator[None]:
    """Inside, this process belongs to the company that meets at `meeting`."""
    on_cpu = settings.device == "cpu"
    variables = {
        "rank": place.rank,
        "local_rank": place.rank,
        "world_size": place.size,
        "local_world_size": place.size,
        "master_addr": "127.0.0.1",
        "master_port": 29500,
        "omp_num_threads": _threads(),
    }
    with patch_environment(**variables):
        backend = "gloo" if on_cpu else "nccl"
        state = PartialState(cpu=on_cpu, backend=backend, init_method=meeting, rank=place.rank, world_size=place.size)
        try:
            yield
        finally:
            with suppress(Exception):
                state.destroy_process_group()
            PartialState._reset_state()


def _peer(
    place: Company,
    meeting: str,
    run: Callable[..., Path],
    args: Sequence[Any],
    options: Any,
    settings: ComputeSettings,
    threads: int,
) -> None:
    """Another process's life: it ends with the first one, and without a result."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for request in (signal.SIGTERM, signal.SIGINT):  # to a whole group: the first process answers for all
        signal.signal(request, signal.SIG_IGN)
    torch.set_num_threads(threads)
    with _joined(place, meeting, settings), suppress(Interrupted, Dismissed):
        run(*args, **options)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(FAILED)


def _end_with(peers: Sequence[BaseProcess], over: threading.Event) -> None:
    """When a peer is lost, this process has a while to notice by itself; then it ends, rather than wait for ever."""
    waiting = {peer.sentinel: peer for peer in peers}
    while waiting and not over.is_set():
        for sentinel in wait(list(waiting), timeout=1.0):
            peer = waiting.pop(sentinel)
            peer.join()
            if peer.exitcode and not over.wait(SECONDS_TO_NOTICE):
                print(f"training process {peer.name} ended ({peer.exitcode}); this one ends too", file=sys.stderr)
                os._exit(FAILED)


def _lost(peers: Sequence[BaseProcess]) -> str:
    """The peers that failed, with what they returned; those that fail now are given a second each to end."""
    for peer in peers:
        peer.join(1.0)
    return ", ".join(f"{rank} (exit code {peer.exitcode})" for rank, peer in enumerate(peers, 1) if peer.exitcode)


def _end(peers: Sequence[BaseProcess]) -> None:
    for peer in peers:
        if peer.is_alive():
            peer.kill()
        peer.join()


def _threads() -> int:
    return torch.get_num_threads()


def _silent(*said: object) -> None:
    """Peers report and record nothing."""


def _never() -> None:
    """Peers stop when the first process does."""


QUIET: Mapping[str, Callable[..., None]] = {"report": _silent, "record": _silent, "cancelled": _never}
"""What a peer is given in place of options that only the first process has a use for."""
