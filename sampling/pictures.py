"""PNG files that carry how they were painted: a `tauworks` JSON, and the `parameters` text other tools read."""

import json
import re
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from sampling.errors import NoRecord, RecordRefused

RECORD = "tauworks"
PARAMETERS = "parameters"
REQUIRED = ("prompt", "seed", "solver", "steps", "guidance")
"""Without these a picture cannot be painted again."""

SAMPLERS = {
    "lcm": "LCM",
    "tcd": "TCD",
    "ddim": "DDIM",
    "dpm": "DPM-Solver 2M",
    "dpm++": "DPM++ 2M",
    "euler": "Euler",
    "unipc": "UniPC",
}
"""Our solver -> the sampler's name in the `parameters` text."""

_HASHES = ("sha256", "tensor_hash", "blake3", "data_sha256")
_DIGEST = re.compile(r"[0-9a-f]{64}")


def save_png(image: Image.Image, path: Path, record: Mapping[str, Any]) -> None:
    """Write `image` to `path` with `record`, through a temporary sibling.

    `record` holds at least REQUIRED, and beside it what the caller knows: recipe, locked, base, inputs, versions, ...
    Raises RecordRefused when a required entry is missing, a hash is empty or no hash, or JSON cannot hold the record.
    """
    refuse_incomplete(record)
    _save(image, path, {PARAMETERS: parameters_text(record, image.size), RECORD: _json(record)})


def save_sheet(image: Image.Image, path: Path, record: Mapping[str, Any]) -> None:
    """Write a sheet of several pictures to `path` with what all of them are. Raises RecordRefused as `save_png`."""
    refuse_wrong_hashes(record)
    _save(image, path, {RECORD: _json(record)})


def _save(image: Image.Image, path: Path, texts: Mapping[str, str]) -> None:
    metadata = PngInfo()
    for key, text in texts.items():
        metadata.add_text(key, text)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(6)}.partial")
    try:  # an interruption may come as soon as the file is there
        with partial.open("xb") as file:
            image.save(file, format="PNG", pnginfo=metadata)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def read_png(path: Path) -> dict[str, Any]:
    """The record inside the PNG of one picture at `path`.

    Raises NoRecord when it is no PNG or carries none, RecordRefused when the one it carries is damaged.
    """
    record = read_record(path)
    refuse_incomplete(record)
    return record


def read_record(path: Path) -> dict[str, Any]:
    """The record inside the PNG of a picture or of a sheet; raises as `read_png`."""
    try:
        with Image.open(path) as image:
            image.load()
            text = getattr(image, "text", {}).get(RECORD)
    except UnidentifiedImageError as error:
        raise NoRecord(f"{path}: not a picture. Give a PNG that Tauworks painted.") from error
    if text is None:
        raise NoRecord(f"{path}: carries no Tauworks record; it was painted elsewhere, or a tool removed it.")
    try:
        record = json.loads(text)
    except json.JSONDecodeError as error:
        raise RecordRefused(f"{path}: its Tauworks record is no JSON: {error}") from error
    if not isinstance(record, dict):
        raise RecordRefused(f"{path}: its Tauworks record is no JSON object.")
    refuse_wrong_hashes(record)
    return record


def parameters_text(record: Mapping[str, Any], size: tuple[int, int]) -> str:
    """The text that AUTOMATIC1111's web UI and its readers understand."""
    settings = {
        "Steps": record["steps"],
        "Sampler": SAMPLERS.get(record["solver"], record["solver"]),
        "CFG scale": f"{record['guidance']:g}",
        "Seed": record["seed"],
        "Size": f"{size[0]}x{size[1]}",
    }
    base = record.get("base")
    if isinstance(base, Mapping):
        settings |= {"Model": base.get("name"), "Model hash": str(base.get("sha256", ""))[:10]}
    elif base:
        settings["Model"] = base
    if recipe := record.get("recipe"):
        settings["Tauworks recipe"] = json.dumps(recipe)
    return f"{record['prompt']}\n" + ", ".join(
        f"{key}: {value}" for key, value in settings.items() if value not in (None, "")
    )


def refuse_incomplete(record: Mapping[str, Any]) -> None:
    """Raise RecordRefused unless `record` can repaint its picture and every hash in it is one."""
    if missing := [key for key in REQUIRED if record.get(key) is None]:
        raise RecordRefused(
            f"the picture's record lacks {', '.join(missing)}; without them it cannot be painted again."
        )
    refuse_wrong_hashes(record)


def refuse_wrong_hashes(record: Mapping[str, Any]) -> None:
    """Raise RecordRefused unless every hash in `record` is one."""
    for place, value in _hashes(record, ()):
        if not isinstance(value, str) or not _DIGEST.fullmatch(value):
            raise RecordRefused(
                f"{'.'.join(place)}: expected 64 hexadecimal digits, got {value!r}. Leave out what is not known."
            )


def _hashes(entry: object, place: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], object]]:
    if isinstance(entry, Mapping):
        for key, value in entry.items():
            if key in _HASHES:
                yield (*place, key), value
            yield from _hashes(value, (*place, str(key)))
    elif isinstance(entry, list | tuple):
        for i, value in enumerate(entry):
            yield from _hashes(value, (*place, str(i)))


def _json(record: Mapping[str, Any]) -> str:
    try:
        return json.dumps(record, sort_keys=True, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise RecordRefused(f"JSON cannot hold the picture's record: {error}") from error
