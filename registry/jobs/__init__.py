"""The job queue's core: jobs in the registry's database, leased, fenced, and written down."""

from registry.jobs.lease import Job, JobEvent, Lease, Metric
from registry.jobs.logs import LogPiece
from registry.jobs.needs import Offers
from registry.jobs.queue import LEASE_SECONDS, Queue
from registry.states import JobState, Lane, Wanted

__all__ = [
    "LEASE_SECONDS",
    "Job",
    "JobEvent",
    "JobState",
    "Lane",
    "Lease",
    "LogPiece",
    "Metric",
    "Offers",
    "Queue",
    "Wanted",
]
