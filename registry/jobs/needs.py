"""What a job needs of the machine that runs it, and what a worker has to offer."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement

from registry.errors import InvalidName
from registry.tables import JobRow

LARGEST_NUMBER = 2**31 - 1


@dataclass(frozen=True)
class Offers:
    """What a worker has for one job: `gpus`, and `memory` in bytes where the job runs.

    That is the memory of each GPU, or of the machine where there is none; None says that it is not known, and then no
    job is refused for want of it.
    """

    gpus: int = 0
    memory: int | None = None


NOTHING_SPECIAL = Offers()
"""Of a worker that said nothing: no GPU, and memory that nobody measured."""


def fits(offers: Offers) -> ColumnElement[bool]:
    """Whether a job can run on what is offered."""
    has_gpus = JobRow.needs_gpu <= offers.gpus
    return has_gpus if offers.memory is None else has_gpus & (JobRow.needs_memory <= offers.memory)


def require_needs(needs_gpu: int, needs_memory: int) -> None:
    """Raise InvalidName for needs that cannot be meant."""
    if not 0 <= needs_gpu <= LARGEST_NUMBER:
        raise InvalidName(f"needs_gpu {needs_gpu}: expected a number of GPUs, 0 for none.")
    if needs_memory < 0:
        raise InvalidName(f"needs_memory {needs_memory}: expected bytes, 0 where it does not matter.")


def require_priority(priority: int) -> None:
    """Raise InvalidName for a priority that the database cannot hold."""
    if abs(priority) > LARGEST_NUMBER:
        raise InvalidName(
            f"priority {priority}: expected {-LARGEST_NUMBER} to {LARGEST_NUMBER}; the highest goes first."
        )
