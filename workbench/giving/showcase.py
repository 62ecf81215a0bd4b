"""The pictures that go out with a version: its previews, their embedded text without secrets and machine paths."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

    from registry import Preview, Registry, Version

FOLDER = "images"
MOST = 12
"""More pictures than a card's gallery shows well."""

HARMLESS = frozenset({"chromaticity", "dpi", "gamma", "icc_profile", "interlace", "srgb", "transparency"})
"""What an opened PNG tells beside its text chunks that may stay as it is."""


@dataclass(frozen=True)
class Picture:
    """A picture that was written, and the prompt that it was painted from, where that is known."""

    path: str
    prompt: str | None
    sha256: str


def write_pictures(registry: "Registry", version: "Version", folder: Path) -> tuple[list[Picture], list[str]]:
    """Write a version's previews below `folder`, oldest first; the pictures, and what was left out with the reason."""
    written: dict[str, Picture] = {}
    left_out = []
    for preview in _previews(registry, version):
        if preview.picture in written:
            continue
        path = f"{FOLDER}/{preview.picture[:16]}.png"
        (folder / FOLDER).mkdir(exist_ok=True)
        reason = write_picture(registry.blob_path(preview.picture), folder / path)
        if reason is not None:
            left_out.append(f"preview {preview.picture[:16]}: {reason}")
            continue
        written[preview.picture] = Picture(path, _prompt(preview.settings), preview.picture)
    if not written and (folder / FOLDER).is_dir():
        (folder / FOLDER).rmdir()
    return list(written.values()), left_out


def write_picture(source: Path, target: Path) -> str | None:
    """Write the picture `source` as a PNG whose texts are scrubbed; why not, where it is none that can be read.

    A PNG without anything to hide is copied to the bit; what else a picture carries, such as EXIF, stays behind.
    """
    from PIL import Image

    try:
        with Image.open(source) as image:
            image.load()
            if image.format == "PNG" and not _tells(image):
                target.write_bytes(source.read_bytes())
            else:
                _save(image, target)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        target.unlink(missing_ok=True)
        return f"no picture that can be read ({error})"
    return None


def _previews(registry: "Registry", version: "Version") -> "list[Preview]":
    """The version's own previews, then those of its recipe, the oldest first."""
    recipe = registry.recipe(version)
    own = registry.previews(version, limit=MOST)
    of_recipe = registry.previews(f"recipe:{recipe.sha256}", limit=MOST) if recipe else []
    return [*reversed(own), *reversed(of_recipe)][:MOST]


def _tells(image: "Image") -> bool:
    """Whether a PNG carries something that scrubbing takes away."""
    texts = _texts(image)
    return any(key not in HARMLESS and key not in texts for key in image.info) or _scrubbed(texts) != texts


def _save(image: "Image", target: Path) -> None:
    from PIL.PngImagePlugin import PngInfo

    texts = PngInfo()
    for key, text in _scrubbed(_texts(image)).items():
        texts.add_text(key, text)
    known = image.mode in ("1", "L", "LA", "RGB", "RGBA") and "transparency" not in image.info
    pixels = image.copy() if known else image.convert("RGBA" if "transparency" in image.info else "RGB")
    profile = image.info.get("icc_profile")
    pixels.info = {}
    pixels.save(target, format="PNG", pnginfo=texts, icc_profile=profile)


def _texts(image: "Image") -> dict[str, str]:
    return {key: str(text) for key, text in getattr(image, "text", {}).items()}


def _scrubbed(texts: Mapping[str, str]) -> dict[str, str]:
    from formats.scrubbing import scrub_text

    return {key: scrub_text(text) for key, text in texts.items()}


def _prompt(settings: Mapping[str, Any]) -> str | None:
    prompt = settings.get("prompt")
    return prompt if isinstance(prompt, str) and prompt.strip() else None
