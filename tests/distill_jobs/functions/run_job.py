"""What `tau worker --job ID` does, for the functions of these tests: python run_job.py --job ID."""

import os
import sys

from distill_jobs.execution.leased import LEASE_VARIABLE, Custody, run_leased
from registry import Registry

KINDS = {"count": "sample_jobs:count", "fail": "sample_jobs:fail"}

if __name__ == "__main__":
    with Registry.open() as registry:
        custody = Custody.from_text(os.environ[LEASE_VARIABLE])
        sys.exit(run_leased(registry, KINDS, int(sys.argv[2]), custody=custody))
