"""How long pictures took on this machine, so that the next ones can be foreseen: a small file in the home folder."""

import json
import os
import secrets
from pathlib import Path
from statistics import median

FILE = "painting-paces.json"
REMEMBERED = 8
"""Paintings of one base, device and size."""

MOST_KEYS = 500
"""Bases, devices and sizes; the ones that were not painted for the longest time are forgotten."""

Samples = list[list[float]]
"""(U-Net evaluations of one picture, seconds of one picture), the newest last."""


def pace_key(base_digest: str, device_title: str, size: tuple[int, int]) -> str:
    """What paintings that take as long as one another have in common, beside their evaluations."""
    height, width = size
    return f"{base_digest[:16]} {device_title} {width}x{height}"


def learn_pace(home: Path, key: str, evaluations: int, pictures: int, seconds: float) -> None:
    """Remember that so many pictures took so long. What two processes write at once, one of them may lose."""
    known = _read(home)
    samples = [*known.pop(key, []), [float(evaluations), seconds / pictures]]
    known[key] = samples[-REMEMBERED:]
    text = json.dumps(dict(list(known.items())[-MOST_KEYS:]))
    fresh = home / f".{FILE}-{secrets.token_hex(4)}"
    fresh.write_text(text, "utf-8")
    os.replace(fresh, home / FILE)


def foreseen_seconds(home: Path, key: str, evaluations: int, pictures: int) -> float | None:
    """How long so many pictures will take, once their base is loaded; None where none was painted like that yet.

    By those of as many evaluations, else in proportion to those of the nearest number.
    """
    samples = _read(home).get(key, [])
    if not samples:
        return None
    nearest = min((taken for taken, _ in samples), key=lambda taken: abs(taken - evaluations))
    alike = [seconds for taken, seconds in samples if taken == nearest]
    return median(alike) * evaluations / nearest * pictures


def _read(home: Path) -> dict[str, Samples]:
    """What is remembered; nothing where the file is not there or is none of ours."""
    try:
        found = json.loads((home / FILE).read_text("utf-8"))
        return {str(key): [[float(a), float(b)] for a, b in samples] for key, samples in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
