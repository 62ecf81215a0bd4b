"""What a U-Net is told beside a noisy latent and its timestep: text, and what SDXL adds to it."""

from dataclasses import dataclass, replace
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

    def at(self, rows: Tensor | slice) -> "Condition":
        """Those rows ((B,) int64, or a slice), in that order."""
        return Condition(*(None if part is None else part[rows] for part in self.parts))

    def repeated(self, count: int) -> "Condition":
        """A single row, `count` times, without a copy."""
        return Condition(*(None if part is None else part.expand(count, *part.shape[1:]) for part in self.parts))

    def with_time_ids(self, time_ids: Tensor | None) -> "Condition":
        """The same text, told of pictures of these sizes and crops: (B, 6), or none on a base that is not told."""
        return replace(self, time_ids=time_ids)

    def zeroed(self) -> "Condition":
        """Zeros for text and pooled text, the time ids kept: SDXL's unconditional."""
        return Condition(_zeros(self.text), None if self.pooled is None else _zeros(self.pooled), self.time_ids)

    def to(self, device: torch.device | str, dtype: torch.dtype) -> "Condition":
        """The same on `device`, the text in `dtype`; time ids keep theirs, since bfloat16 has no 1,001."""
        pooled = None if self.pooled is None else self.pooled.to(device, dtype)
        time_ids = None if self.time_ids is None else self.time_ids.to(device)
        return Condition(self.text.to(device, dtype), pooled, time_ids)

    @property
    def parts(self) -> tuple[Tensor | None, ...]:
        return self.text, self.pooled, self.time_ids


def _zeros(part: Tensor) -> Tensor:
    """Zeros of `part`'s shape that take the place of one row."""
    return torch.zeros_like(part[:1]).expand_as(part)


def _joined(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return None if a is None or b is None else torch.cat([a, b])


def micro_condition(original: tuple[int, int], crop: tuple[int, int], target: tuple[int, int]) -> tuple[int, ...]:
    """SDXL's six time ids (Podell et al. 2023, arXiv 2307.01952, section 2.2), every pair as (height, width).

    The size of the picture as it was found, the corner (top, left) of the crop after scaling, the size after cropping.
    """
    return *original, *crop, *target
