"""What was found in a file, how sure that is, and on what evidence."""

from dataclasses import dataclass
from typing import Any, Literal

from formats.digests import Digests

Kind = Literal["vector", "base", "opaque", "unknown"]
"""An adapter, a whole model, a pickle (never opened), or anything else."""

UNKNOWN = "unknown"
NO_ADAPTER = "none"
"""The adapter kind of a base."""
CHECKPOINT = "checkpoint"
"""The layout of a base in one file, under the names of the original code."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One answer with a confidence from 0 to 1 and the sentences that it rests on."""

    value: str
    confidence: float
    evidence: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The finding as a JSON object."""
        return {"value": self.value, "confidence": self.confidence, "evidence": list(self.evidence)}


def nothing(reason: str) -> Finding:
    """The answer where there is none, with the reason."""
    return Finding(UNKNOWN, 0.0, (reason,))


@dataclass(frozen=True, slots=True)
class Identification:
    """Everything that was found. `rank` and `alpha` are None where they vary or where the kind has none.

    `architecture` names the module table that explains every key; `ranks` counts the modules of each rank; `parameters`
    are those of the adapter, alphas apart, or of the base's U-Net and text encoders. A base folder has no hashes, and
    no file has any when none were asked for. `variant` says how the base differs from its family's first model
    (`standard`, `inpaint`, `depth`, `pix2pix`, `lcm`, `unclip`, several joined by `+`). `broken` is None, or why a file
    that was recognised cannot be used.
    """

    kind: Kind
    family: Finding
    adapter: Finding
    layout: Finding
    rank: int | None
    ranks: dict[int, int]
    alpha: float | None
    dtype: str | None
    modules: int
    parameters: int
    hashes: Digests | None
    architecture: str | None
    warnings: tuple[str, ...]
    variant: Finding
    prediction_type: Finding
    broken: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The JSON object of `tau identify --json`."""
        return {
            "family": self.family.to_json(),
            "adapter": self.adapter.to_json(),
            "layout": self.layout.to_json(),
            "rank": self.rank,
            "alpha": self.alpha,
            "dtype": self.dtype,
            "modules": self.modules,
            "parameters": self.parameters,
            "hashes": None if self.hashes is None else self.hashes.to_json(),
            "warnings": list(self.warnings),
            "kind": self.kind,
            "variant": self.variant.to_json(),
            "prediction_type": self.prediction_type.to_json(),
            "broken": self.broken,
        }
