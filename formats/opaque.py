"""Pickles, known by their content: opening one can run code, so none is opened, whatever its name says."""

import pickletools
from io import BytesIO
from pathlib import Path

from formats.errors import HeaderError
from formats.header import MAX_HEADER_BYTES, read_header

PICKLE_SUFFIXES = frozenset({".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth"})

ZIP = b"PK\x03\x04"
PROTOCOLS = tuple(bytes((0x80, protocol)) for protocol in range(2, 6))
TAR_MARK, TAR_MARK_AT = b"ustar", 257
LOOKED_AT_BYTES = 1 << 16
BUILDING = frozenset({"BUILD", "BINPUT", "GLOBAL", "INST", "OBJ", "PUT", "REDUCE", "STACK_GLOBAL"})
"""Opcodes of which every pickle that builds anything has one; a short text may read as a chain of others."""


def pickled_content(path: Path) -> str | None:
    """What kind of pickle the file `path` is; None for a safetensors file, whatever it is called, and for all else.

    A file that cannot be told is one when it is named like one.
    """
    try:
        read_header(path)
    except HeaderError:
        return _content(path)
    return None


def _content(path: Path) -> str | None:
    """The answer for a file that is no safetensors file, by its first bytes, else by its name."""
    try:
        with path.open("rb") as file:
            start = file.read(LOOKED_AT_BYTES)
    except OSError:
        return None
    if start.startswith(ZIP):
        return "a zip archive, as torch.save writes it"
    if start[TAR_MARK_AT : TAR_MARK_AT + len(TAR_MARK)] == TAR_MARK:
        return "a tar archive, as the first torch.save wrote it"
    if _reads_as_opcodes(start) and not _is_damaged(path, start):
        return f"a pickle of protocol {start[1]}" if start.startswith(PROTOCOLS) else "a pickle of protocol 0 or 1"
    return f"no safetensors file, and named {path.suffix} like a pickle" if has_pickle_suffix(path) else None


def _is_damaged(path: Path, start: bytes) -> bool:
    """Whether these are safetensors with a damaged header, which may read as opcodes: `odel.` of `model.` is a chain.

    Only under their own name, where the answer is a refusal: under any other a file that could be both stays closed.
    """
    begins = start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= MAX_HEADER_BYTES
    return begins and path.suffix.lower() == ".safetensors" and not start.startswith(PROTOCOLS)


def has_pickle_suffix(path: Path) -> bool:
    """Whether the file is named as pickles are."""
    return path.suffix.lower() in PICKLE_SUFFIXES


def _reads_as_opcodes(start: bytes) -> bool:
    """Whether the bytes are a chain of pickle opcodes, which are listed and never carried out.

    After a protocol's mark one more opcode is enough: a damaged header may begin with the mark's two bytes, but goes
    on with zeros. Without the mark the chain has to go on to its end, or to what was not read, and build something.
    """
    count, builds, stream = 0, False, BytesIO(start)
    try:
        for opcode, _, _ in pickletools.genops(stream):
            count, builds = count + 1, builds or opcode.name in BUILDING
            if count > 1 and start.startswith(PROTOCOLS):
                return True
            if opcode.name == "STOP":
                return builds
    except (ValueError, IndexError, OverflowError):
        return builds and stream.tell() == LOOKED_AT_BYTES
    return False
