"""The picture that a painting begins with: kept in the registry, so that whoever paints finds it by its digest."""

import re
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.errors import NotAPicture, UnknownPath
from workbench.painting.profiles import Sampling

if TYPE_CHECKING:
    from PIL.Image import Image

    from registry import Registry

LATENT_SIDE = 8
"""Pixels a side of one latent, in every family's VAE."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


def keep_init(registry: "Registry", sampling: Sampling) -> Sampling:
    """The same with `init` as the digest of a kept picture, and its size where none is said, cut to whole latents.

    Raises UnknownPath, NotAPicture, NotFound for a digest that the registry does not keep.
    """
    if sampling.init is None:
        return sampling
    sha256 = sampling.init if _SHA256.fullmatch(sampling.init) else _kept(registry, Path(sampling.init).expanduser())
    width, height = open_init(registry, sha256).size
    return replace(
        sampling,
        init=sha256,
        width=sampling.width or _whole_latents(width),
        height=sampling.height or _whole_latents(height),
    )


def kept_picture(registry: "Registry", content: bytes) -> str:
    """The digest under which the registry keeps a picture from now on. Raises NotAPicture."""
    _opened(BytesIO(content))
    return registry.put_blob(content)


def init_of(registry: "Registry", sampling: Sampling) -> "Image | None":
    """The kept picture that a painting begins with, None where it begins with noise."""
    return None if sampling.init is None else open_init(registry, sampling.init)


def open_init(registry: "Registry", sha256: str) -> "Image":
    """The kept picture, turned as its camera says."""
    return _opened(registry.blob_path(sha256))


def _kept(registry: "Registry", path: Path) -> str:
    if not path.is_file():
        raise UnknownPath(path)
    _opened(path)
    return registry.put_blob(path)


def _opened(path: Path | BytesIO) -> "Image":
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            return ImageOps.exif_transpose(picture).convert("RGB")
    except (UnidentifiedImageError, OSError) as error:
        where = path if isinstance(path, Path) else "what was given"
        raise NotAPicture(f"{where}: no picture that can be opened ({error}). Give a PNG or a JPEG.") from error


def _whole_latents(pixels: int) -> int:
    return max(1, pixels // LATENT_SIDE) * LATENT_SIDE
