"""Functions of jobs for the worker's tests; each runs in a process of its own."""

import os
import signal
import time
from pathlib import Path
from typing import Any

from distill_jobs.context import JobContext
from distill_jobs.errors import Interrupted
from distill_jobs.progress import Progress


def count(context: JobContext) -> dict[str, Any]:
    """Count to spec["steps"], resuming where folder/counted stands; die by SIGKILL once at spec["die_at"]."""
    counted = context.folder / "counted"
    first = int(counted.read_text()) if counted.exists() else 0
    for step in range(first + 1, context.spec["steps"] + 1):
        reason = context.cancelled()
        if reason:
            raise Interrupted(reason, step - 1)
        time.sleep(context.spec.get("seconds", 0))
        counted.write_text(str(step))
        context.report(Progress(step, context.spec["steps"], 1 / step, 1e-3, 0.0))
        if step == context.spec.get("die_at") and context.lease.job.attempt == 1:
            os.kill(os.getpid(), signal.SIGKILL)
    return {"counted": context.spec["steps"], "began_at": first}


def fail(context: JobContext) -> dict[str, Any]:
    """Fail by the program's own word, or by the machine's trouble."""
    if context.spec["how"] == "machine":
        raise OSError("the disk is full")
    raise ValueError("this can never work")


def visible_devices(context: JobContext) -> dict[str, Any]:
    """What CUDA_VISIBLE_DEVICES says."""
    return {"devices": os.environ.get("CUDA_VISIBLE_DEVICES")}


def ignore_requests(context: JobContext) -> dict[str, Any]:
    """Go on until killed, with a child of its own."""
    if os.fork() == 0:
        Path(context.folder / "grandchild").write_text(str(os.getpid()))
        time.sleep(600)
    Path(context.folder / "began").touch()
    time.sleep(600)
    return {}


def distil_base(context: JobContext) -> dict[str, Any]:
    """Distil spec["base"] on spec["data"]; the first attempt dies by SIGKILL after step spec["die_at"]."""
    from distill_jobs import LcdLoraSettings, distil, read_dataset
    from sampling import load_pipeline

    def report(progress: Progress) -> None:
        context.report(progress)
        if progress.step == context.spec.get("die_at") and context.lease.job.attempt == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    path = distil(
        load_pipeline(Path(context.spec["base"])),
        read_dataset(Path(context.spec["data"])),
        LcdLoraSettings(**context.spec["settings"]),
        folder=context.folder,
        report=report,
        cancelled=context.cancelled,
    )
    return {"file": str(path)}
