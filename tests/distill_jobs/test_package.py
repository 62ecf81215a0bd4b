"""The front of the package."""

import subprocess
import sys

import distill_jobs


def test_what_is_offered_is_sorted_and_there() -> None:
    assert distill_jobs.__all__ == sorted(distill_jobs.__all__)
    assert all(getattr(distill_jobs, name) is not None for name in distill_jobs.__all__)


def test_a_supervisor_and_a_job_process_load_no_torch_by_themselves() -> None:
    program = "import sys, distill_jobs.execution.worker, distill_jobs.execution.child; print('torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout == "False\n"
