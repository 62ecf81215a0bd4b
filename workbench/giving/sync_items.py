"""The files that a sync writes: copies of stored bytes, and what tools show beside a model."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.giving.tools import Tool

if TYPE_CHECKING:
    from registry import Artifact, Registry, Version

WEB_UI_FAMILIES: Mapping[str, str] = {"sd15": "SD1", "sd21": "SD2", "sdxl": "SDXL", "ssd1b": "SDXL", "vega": "SDXL"}


@dataclass(frozen=True)
class Item:
    """One file to be: `key` changes whenever its bytes have to; `sha256` and `size` where they are known before.

    `write` makes it at a path and says the sha256 of what it wrote.
    """

    path: str
    key: str
    write: Callable[[Path], str]
    sha256: str | None = None
    size: int | None = None


Items = Callable[[str], list[Item]]
"""The files that something becomes under a name."""


def copy_of(registry: "Registry", artifact: "Artifact", path: str) -> Item:
    """A stored file at `path`: its blocks shared where the file system can, else copied; never a link."""

    def write(target: Path) -> str:
        from registry.blobs.staging import stage_file

        staged = stage_file(registry.blob_path(artifact.sha256), target)
        target.chmod(0o644)
        return staged.digests.sha256

    return Item(path, artifact.sha256, write, artifact.sha256, artifact.size)


def beside(registry: "Registry", version: "Version", tool: Tool, folder: str) -> Items:
    """What stands beside a model of one file: its newest preview, and the words that the web UI keeps."""

    def items(stem: str) -> list[Item]:
        pictures = [preview.picture for preview in registry.previews(version, limit=1)]
        found = [_picture(registry, sha256, f"{folder}/{stem}.preview.png") for sha256 in pictures]
        if tool.keeps_words and version.kind != "base":
            found += [_text(f"{folder}/{stem}.json", words) for words in _web_ui_words(version)]
        return found

    return items


def _picture(registry: "Registry", sha256: str, path: str) -> Item:
    return Item(path, sha256, lambda target: _written(target, registry.blob_path(sha256).read_bytes()), sha256)


def _text(path: str, text: str) -> Item:
    content = text.encode()
    sha256 = hashlib.sha256(content).hexdigest()
    return Item(path, sha256, lambda target: _written(target, content), sha256, len(content))


def _written(target: Path, content: bytes) -> str:
    target.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def _web_ui_words(version: "Version") -> list[str]:
    """The web UI's own file about a vector; none where there is nothing to say."""
    if not version.trigger_words and version.recommended_strength is None:
        return []
    words = {
        "description": version.title,
        "sd version": WEB_UI_FAMILIES.get(version.family or "", "Unknown"),
        "activation text": ", ".join(version.trigger_words),
        "preferred weight": version.recommended_strength or 0,
        "notes": version.ref,
    }
    return [json.dumps(words, indent=2, ensure_ascii=False) + "\n"]
