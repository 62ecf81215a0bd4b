"""What a U-Net is told beside a noisy latent and its timestep: text, and what SDXL adds to it."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Condition:
    """One row a picture: text (B, L, D); for SDXL also the pooled text (B, P) and the size and crop ids (B, 6)."""

    text: Tensor
    pooled: Tensor | None = None
    time_ids: Tensor | None = None

    def __len__(self) -> int:
        return len(self.text)

    def arguments(self) -> dict[str, Any]:
        """The keyword arguments of a diffusers U-Net."""
        given: dict[str, Any] = {"encoder_hidden_states": self.text}
        if self.pooled is not None:
            given["added_cond_kwargs"] = {"text_embeds": self.pooled, "time_ids": self.time_ids}
        return given

    def followed_by(self, other: "Condition") -> "Condition":
        """The rows of both, (B + B', ...), for one pass over two batches."""
        return Condition(*(_joined(a, b) for a, b in zip(self.parts, other.parts, strict=True)))

    def at(self, rows: Tensor) -> "Condition":
        """Those rows (B,) int64, in that order."""
        return Condition(*(None if part is None else part[rows] for part in self.parts))

    def repeated(self, count: int) -> "Condition":
        """A single row, `count` times, without a copy."""
        return Condition(*(None if part is None else part.expand(count, *part.shape[1:]) for part in self.parts))

    @property
    def parts(self) -> tuple[Tensor | None, ...]:
        """Text, pooled text, size and crop ids."""
        return self.text, self.pooled, self.time_ids


def _joined(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return None if a is None or b is None else torch.cat([a, b])
