"""Which code made a result: this package's own version and contents, and the libraries that it computes with."""

import hashlib
import json
import platform
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import BaseModel

LIBRARIES = ("torch", "diffusers", "peft", "transformers", "accelerate")


@cache
def code_version() -> str:
    """`distill_jobs/3f2a9c01b2d4`: twelve digits of a SHA-256 over the sources of this package.

    A number in a file would call two states of a working copy the same.
    """
    folder, digest = Path(__file__).parent, hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return f"distill_jobs/{digest.hexdigest()[:12]}"


def software() -> dict[str, str]:
    """Name -> version of everything that a training's numbers depend on."""
    libraries = {name: version(name) for name in LIBRARIES}
    return {"code": code_version(), "python": platform.python_version(), **libraries}


def training_record(settings: BaseModel) -> dict[str, Any]:
    """What a folder says of its training: each setting, and the software."""
    return {**settings.model_dump(mode="json"), "software": software()}


def training_metadata(settings: BaseModel) -> dict[str, str]:
    """What a file says of its training: the settings, and the code and libraries that ran it."""
    return {"tauworks.training": settings.model_dump_json(), "tauworks.software": json.dumps(software())}
