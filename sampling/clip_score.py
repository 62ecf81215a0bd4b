"""The CLIP score of pictures with a model that the user has: torchmetrics', with weights from a folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers.image_utils import to_numpy_array

from sampling.base import progress_bars_off
from sampling.errors import ClipUnreadable


def clip_scores(folder: Path, images: Sequence[Image.Image], prompts: Sequence[str]) -> list[float]:
    """max(100 * cos(E_image, E_prompt), 0) of each picture and its prompt (Hessel et al. 2021), by that CLIP.

    Nothing is downloaded. Raises ClipUnreadable.
    """
    score = _scorer(folder)
    pairs = zip(images, prompts, strict=True)
    return [float(score(_bytes(image), prompt)) for image, prompt in pairs]


def _scorer(folder: Path) -> Any:
    try:
        from torchmetrics.multimodal.clip_score import CLIPScore
    except ImportError as error:
        raise ClipUnreadable("the CLIP score needs torchmetrics: pip install 'tauworks[metrics]'") from error
    if not (folder / "config.json").is_file():
        raise ClipUnreadable(f"{folder}: no config.json there. Give the folder of a CLIP model and its processor.")
    try:
        with progress_bars_off():
            return CLIPScore(model_name_or_path=str(folder)).eval()  # type: ignore[arg-type]
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise ClipUnreadable(f"{folder}: transformers cannot open it as a CLIP model: {error}") from error


def _bytes(image: Image.Image) -> torch.Tensor:
    """(3, height, width) from 0 to 255."""
    return torch.from_numpy(to_numpy_array(image.convert("RGB")).copy()).permute(2, 0, 1)
