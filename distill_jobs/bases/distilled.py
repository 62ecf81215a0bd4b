"""U-Nets that are told their guidance: made out of a base's, and written as a base of their own."""

import copy
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from sampling import make_scheduler
from sampling.base import progress_bars_off
from sampling.guidance import EMBEDDING_WIDTH
from sampling.judge import SUBFOLDER as JUDGE

MODEL_INDEX = "model_index.json"
MADE_HERE = {"unet": "UNet2DConditionModel", "scheduler": "LCMScheduler"}
"""The components that a distilled base does not share with the one that it was made from."""


def trainable_copy(unet: Any) -> Any:
    """A copy of a U-Net, every weight of which is trained."""
    return copy.deepcopy(unet).requires_grad_(True)


def student_of(teacher: Any) -> Any:
    """A trainable copy of a teacher's U-Net with a layer that embeds w.

    The layer is zero, so the student starts as its teacher at every w (adding a trained condition that starts at
    zero: Zhang et al. 2023, arXiv 2302.05543); its gradient is not zero, so it learns from the first step.
    """
    student = trainable_copy(teacher)
    embedding = student.time_embedding
    embedding.cond_proj = nn.utils.skip_init(
        nn.Linear, EMBEDDING_WIDTH, embedding.linear_1.in_features, bias=False, dtype=teacher.dtype
    )
    nn.init.zeros_(embedding.cond_proj.weight)
    student.register_to_config(time_cond_proj_dim=EMBEDDING_WIDTH)
    return student


def with_unet(pipe: Any, unet: Any) -> Any:
    """A pipeline that shares everything with `pipe` but its U-Net."""
    shown = copy.copy(pipe)
    shown.unet = unet
    return shown


def export_base(pipe: Any, base: Path, folder: Path, training: Mapping[str, Any]) -> Path:
    """Write `pipe`'s U-Net with an LCM scheduler as a base folder, whole or not at all; the other components, and the
    judge where there is one, are those of the folder `base`, byte for byte. `training` becomes training.json.

    The folder opens as the base's own pipeline class, and a Stable-Diffusion one as LatentConsistencyModelPipeline.
    """
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    index = json.loads((base / MODEL_INDEX).read_text())
    for component in (*_components(index), JUDGE):
        if component not in MADE_HERE and (base / component).is_dir():
            shutil.copytree(base / component, partial / component)
    with progress_bars_off():
        pipe.unet.save_pretrained(partial / "unet")
    make_scheduler("lcm", pipe.scheduler.config).save_pretrained(partial / "scheduler")
    _forget_origin(partial / "unet" / "config.json")
    made = {component: ["diffusers", name] for component, name in MADE_HERE.items()}
    _write(partial / MODEL_INDEX, {**index, **made})
    _write(partial / "training.json", training)
    shutil.rmtree(folder, ignore_errors=True)
    return partial.rename(folder)


def _components(index: Mapping[str, Any]) -> list[str]:
    return [name for name, made in index.items() if isinstance(made, list) and made[0] is not None]


def _forget_origin(config: Path) -> None:
    """A U-Net's config says where it was opened, which is nobody's business and differs from machine to machine."""
    said = json.loads(config.read_text())
    said.pop("_name_or_path", None)
    _write(config, said)


def _write(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n")
