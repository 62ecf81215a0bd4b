"""The judge that a base may carry: a small classifier that says what a picture shows, head by head."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from transformers import ResNetForImageClassification
from transformers.image_utils import to_numpy_array

from sampling.base import progress_bars_off
from sampling.errors import JudgeUnreadable

SUBFOLDER = "judge"
"""Where a base folder keeps its judge."""


@dataclass(frozen=True)
class Judge:
    """A classifier and its heads: head -> its values, in the order of the network's logits."""

    network: ResNetForImageClassification
    heads: dict[str, tuple[str, ...]]

    @torch.no_grad()
    def read(self, images: Sequence[Image.Image], *, batch: int = 128) -> list[dict[str, str]]:
        """What each picture shows: head -> value."""
        readings: list[dict[str, str]] = []
        for start in range(0, len(images), batch):
            logits = self.network(_pixels(images[start : start + batch]).to(self.network.device)).logits
            readings += self._name(logits)
        return readings

    def _name(self, logits: Tensor) -> list[dict[str, str]]:
        parts = logits.split([len(values) for values in self.heads.values()], dim=1)
        chosen = torch.stack([part.argmax(dim=1) for part in parts], dim=1).tolist()
        return [{head: values[i] for (head, values), i in zip(self.heads.items(), row, strict=True)} for row in chosen]


def find_judge(folder: Path, *, device: str | torch.device = "cpu") -> Judge | None:
    """The judge that the base in `folder` carries, or None. Raises JudgeUnreadable for one that cannot be opened."""
    return load_judge(folder, device=device) if (Path(folder) / SUBFOLDER).is_dir() else None


def load_judge(folder: Path, *, device: str | torch.device = "cpu") -> Judge:
    """The judge in `folder`, which is the classifier's own folder or a base that carries one under judge/.

    Raises JudgeUnreadable when there is none, or when its labels are not "head=value" with each head in one piece.
    """
    inside = Path(folder) / SUBFOLDER
    path = inside if inside.is_dir() else Path(folder)
    try:
        with progress_bars_off():
            network = ResNetForImageClassification.from_pretrained(
                str(path), dtype=torch.float32, local_files_only=True, use_safetensors=True
            )
    except (OSError, ValueError) as error:
        raise JudgeUnreadable(f"{path}: transformers cannot open it as a ResNet classifier: {error}") from error
    labels = [network.config.id2label[i] for i in range(network.config.num_labels)]
    return Judge(network.eval().requires_grad_(False).to(device), _heads(path, labels))


def _heads(path: Path, labels: Sequence[str]) -> dict[str, tuple[str, ...]]:
    heads: dict[str, tuple[str, ...]] = {}
    for label in labels:
        head, equals, value = label.partition("=")
        if not (head and equals and value):
            raise JudgeUnreadable(f"{path}: label {label!r}: expected head=value, as in colour=red.")
        if head in heads and head != next(reversed(heads)):
            raise JudgeUnreadable(f"{path}: the labels of head {head!r} do not stand together.")
        heads[head] = (*heads.get(head, ()), value)
    return heads


def _pixels(images: Sequence[Image.Image]) -> Tensor:
    """(N, 3, height, width) float32 in [-1, 1], as the networks of this field take pictures."""
    stacked = torch.stack([torch.from_numpy(to_numpy_array(image.convert("RGB")).copy()) for image in images])
    return stacked.permute(0, 3, 1, 2).float() / 127.5 - 1
