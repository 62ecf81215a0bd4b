"""Writing a safetensors file again with other words in its header; every tensor keeps its name, bytes and place."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from formats.errors import FileChanged
from formats.header import Header, read_header

ALIGNMENT = 8
"""The data section begins at a multiple of so many bytes, as the reference writer has it."""

COPY_BYTES = 4 << 20


def rewrite_metadata(source: Path | str, target: Path, metadata: Mapping[str, str]) -> None:
    """Copy `source` to `target`, which must not exist, with `metadata` for its own; the data section is the same.

    Raises HeaderError for an unreadable file, FileChanged where it is written to meanwhile, OSError.
    """
    header = read_header(source)
    with header.path.open("rb") as read, target.open("xb") as write:
        read.seek(header.data_start)
        write.write(_header_bytes(header, metadata))
        shutil.copyfileobj(read, write, COPY_BYTES)
        copied = read.tell()
        write.flush()
        os.fsync(write.fileno())
    if copied != header.file_size:
        target.unlink()
        raise FileChanged(f"{header.path}: {copied:,} of {header.file_size:,} bytes read. Wait until it is complete.")


def _header_bytes(header: Header, metadata: Mapping[str, str]) -> bytes:
    document: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    for name, spec in header.tensors.items():
        document[name] = {"dtype": spec.dtype, "shape": list(spec.shape), "data_offsets": [spec.start, spec.end]}
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    text += b" " * (-len(text) % ALIGNMENT)
    return len(text).to_bytes(8, "little") + text
