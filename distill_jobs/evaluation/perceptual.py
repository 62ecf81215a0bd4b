"""FID, KID and the CLIP score by torchmetrics, with networks that the user has on disk; nothing is downloaded.

FID and KID are against the teacher's pictures of the same exam. At the few pictures of an evaluation FID is biased
upwards (Chong and Forsyth 2020, arXiv 1911.07023): compare rows of one table, not with published numbers. KID is not.
"""

import hashlib
import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor, nn

from distill_jobs.errors import EvaluationRefused

BATCH = 32
INCEPTION_FEATURES = 2048


class Perceptual:
    """The user's networks, loaded once: `features` for FID and KID, `clip` for the CLIP score.

    `features` is a folder of a transformers vision model (DINOv2, ResNet, ...), or torch-fidelity's Inception weights.
    Raises EvaluationRefused when torchmetrics is not installed or a path holds no such network.
    """

    def __init__(self, features: Path | None, clip: Path | None) -> None:
        _require("torchmetrics", features or clip)
        self._features = None if features is None else _open(_extractor, features)
        self._clip = None if clip is None else _open(_clip, clip)
        self.digest = [_content(path) for path in (features, clip)]

    @property
    def measures(self) -> set[str]:
        """The measures that these networks allow."""
        found = {"fid", "kid"} if self._features is not None else set()
        return found | ({"clip_score"} if self._clip is not None else set())

    def of_the_set(self, images: Sequence[Image], reference: Sequence[Image]) -> dict[str, float]:
        """FID (Heusel et al. 2017) and KID (Binkowski et al. 2018, all pictures as one subset) of two sets."""
        if self._features is None:
            return {}
        from torchmetrics.image.fid import FrechetInceptionDistance
        from torchmetrics.image.kid import KernelInceptionDistance

        fid = FrechetInceptionDistance(self._features)
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # that it keeps all features in memory
            kid = KernelInceptionDistance(self._features, subsets=1, subset_size=len(images))
        for metric in (fid, kid):
            for pictures, real in ((reference, True), (images, False)):
                for batch in _pixels(pictures).split(BATCH):
                    metric.update(batch, real=real)
        with torch.random.fork_rng():
            return {"fid": fid.compute().item(), "kid": kid.compute()[0].item()}

    def of_each(self, images: Sequence[Image], prompts: Sequence[str]) -> dict[str, np.ndarray]:
        """The CLIP score of each picture with its prompt (Hessel et al. 2021), 0 to 100: (N,) float64."""
        if self._clip is None:
            return {}
        from torchmetrics.multimodal import CLIPScore

        network = self._clip
        metric = CLIPScore(lambda: network)
        scores = [metric(picture, prompt).item() for picture, prompt in zip(_pixels(images), prompts, strict=True)]
        return {"clip_score": np.array(scores)}


class FeatureExtractor(nn.Module):
    """uint8 pictures (N, 3, H, W) to the pooled features (N, num_features) of a transformers vision model."""

    def __init__(self, network: nn.Module, processor: Any) -> None:
        super().__init__()
        self.network, self.processor = network, processor
        self.num_features = self(torch.zeros(1, 3, 32, 32, dtype=torch.uint8)).shape[1]

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """The features of `images`, prepared as the model's own processor does."""
        pixels = self.processor(images=list(images), return_tensors="pt")["pixel_values"]
        pooled: Tensor = self.network(pixel_values=pixels).pooler_output
        return pooled.flatten(1)


class ClipFeatures(nn.Module):
    """A transformers CLIPModel whose features are plain tensors, as torchmetrics takes them."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network, self.config = network, network.config

    @torch.no_grad()
    def get_image_features(self, pixel_values: Tensor) -> Tensor:
        """(N, width) projected features of pictures."""
        pooled = self.network.vision_model(pixel_values=pixel_values).pooler_output
        projected: Tensor = self.network.visual_projection(pooled)
        return projected

    @torch.no_grad()
    def get_text_features(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(N, width) projected features of prompts."""
        pooled = self.network.text_model(input_ids=input_ids, attention_mask=attention_mask).pooler_output
        projected: Tensor = self.network.text_projection(pooled)
        return projected


def _open(open_network: Callable[[Path], Any], path: Path) -> Any:
    try:
        return open_network(path)
    except (OSError, ValueError, RuntimeError, AttributeError, KeyError) as error:
        raise EvaluationRefused(
            f"{path}: no network that can be opened here: {error}; name a local folder that holds one (config.json, "
            "preprocessor_config.json, model.safetensors), or leave the option out: nothing is downloaded"
        ) from error


def _extractor(path: Path) -> nn.Module:
    if path.is_file():
        return _inception(path)
    from transformers import AutoImageProcessor, AutoModel

    network = AutoModel.from_pretrained(str(_folder(path)), local_files_only=True, use_safetensors=True)
    processor = AutoImageProcessor.from_pretrained(str(path), local_files_only=True)
    return FeatureExtractor(network.eval().requires_grad_(False), processor)


def _inception(path: Path) -> nn.Module:
    _require("torch_fidelity", path)
    from torchmetrics.image.fid import NoTrainInceptionV3

    network = NoTrainInceptionV3("inception-v3-compat", [str(INCEPTION_FEATURES)], str(path))
    network.num_features = INCEPTION_FEATURES
    return network


def _clip(path: Path) -> tuple[nn.Module, Any]:
    from transformers import CLIPModel, CLIPProcessor

    network = CLIPModel.from_pretrained(str(_folder(path)), local_files_only=True, use_safetensors=True)
    processor = CLIPProcessor.from_pretrained(str(path), local_files_only=True)
    return ClipFeatures(network.eval().requires_grad_(False)), processor


def _folder(path: Path) -> Path:
    """A folder on this machine: transformers would take any other text for the name of a model to download."""
    if not path.is_dir():
        raise OSError("no such folder")
    return path


def _require(package: str, wanted_by: Path | None) -> None:
    if wanted_by is not None and find_spec(package) is None:
        raise EvaluationRefused(
            f"{wanted_by}: measuring with it takes the package {package}; install tauworks[metrics], "
            "or leave the option out"
        )


def _content(path: Path | None) -> str | None:
    """SHA-256 over the files at `path`."""
    if path is None:
        return None
    digest = hashlib.sha256()
    for file in [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file()):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _pixels(images: Sequence[Image]) -> Tensor:
    """(N, 3, height, width) uint8."""
    return torch.stack([torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1) for image in images])
