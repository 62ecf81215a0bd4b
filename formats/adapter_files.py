"""Opening an adapter: a safetensors file, or the folder that PEFT or diffusers saves one in."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from formats.errors import FolderError
from formats.header import Header, read_header

PEFT_CONFIG = "adapter_config.json"
PEFT_WEIGHTS = "adapter_model.safetensors"
DIFFUSERS_WEIGHTS = "pytorch_lora_weights.safetensors"
"""What diffusers' `load_lora_weights` looks for in a folder; it cannot read PEFT's own names."""


@dataclass(frozen=True, slots=True)
class AdapterFile:
    """An adapter's one weight file and, for a PEFT folder, its configuration."""

    header: Header
    config: dict[str, Any] | None

    @property
    def path(self) -> Path:
        """The weight file."""
        return self.header.path


def open_adapter(path: Path | str, header: Header | None = None) -> AdapterFile:
    """The weight file of `path` and the adapter_config.json that belongs to it; `header` where it was read already.

    Raises FolderError for a folder without adapter weights, HeaderError for an unreadable file.
    """
    path = Path(path)
    weights = weights_in(path) if path.is_dir() else path
    config = weights.parent / PEFT_CONFIG
    has_config = weights.name == PEFT_WEIGHTS and config.is_file()
    return AdapterFile(header or read_header(weights), _read_config(config) if has_config else None)


def weights_in(folder: Path) -> Path:
    """The weight file of an adapter's folder. Raises FolderError where there is none."""
    for name in (PEFT_WEIGHTS, DIFFUSERS_WEIGHTS):
        if (folder / name).is_file():
            return folder / name
    raise FolderError(
        f"{folder}: neither a base (unet/config.json) nor an adapter ({PEFT_WEIGHTS} or {DIFFUSERS_WEIGHTS}). "
        "Point at the folder or file that holds the weights, as safetensors."
    )


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise FolderError(f"{path}: cannot be read: {error}. Save the adapter again.") from error
    if not isinstance(config, dict):
        raise FolderError(f"{path}: holds {type(config).__name__}, expected an object. Save the adapter again.")
    return config
