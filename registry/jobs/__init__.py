"""The job queue's core: jobs in the registry's database, leased, fenced, and written down."""

from registry.jobs.lease import Job, JobEvent, Lease, Metric
from registry.jobs.queue import LEASE_SECONDS, Queue
from registry.states import JobState, Lane, Wanted

__all__ = ["LEASE_SECONDS", "Job", "JobEvent", "JobState", "Lane", "Lease", "Metric", "Queue", "Wanted"]
