"""What decides a picture's pixels, as one digest: painted once, it is found again by it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.painting.profiles import Sampling


def picture_key(
    locked: str,
    base: str,
    prompt: str,
    seed: int,
    sampling: "Sampling",
    *,
    software: Mapping[str, str] | None = None,
) -> str:
    """The sha256 of the locked recipe, the base's digest, prompt, seed, settings, and versions (default: these)."""
    from sampling.software import software as installed

    document: dict[str, Any] = {
        "locked": locked,
        "base": base,
        "prompt": prompt,
        "seed": seed,
        "sampling": asdict(sampling),
        "software": dict(installed() if software is None else software),
    }
    text = json.dumps(document, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
