"""The short hashes that the field's tools and sites know weight files by.

    autov1       first 8 digits of the sha256 of 64 KiB at 1 MiB: the first webui hash, never unique
    autov3       first 12 digits of what the header claims: its sshs_model_hash, else its modelspec.hash_sha256
    crc32        of the whole file
    modelspec    the header's modelspec.hash_sha256: sha256 over all tensors, in an order that differs between tools
    sshs_model   the header's sshs_model_hash: what the sha256 of the data section was when a trainer wrote the file
    sshs_legacy  the header's sshs_legacy_hash: autov1 of the file before its last metadata were added

AutoV2 and the hashes of 10 or 12 digits in pictures are beginnings of the file's or the data section's sha256.
A tool that hashed nothing writes the hash of nothing, and all its files look alike (ai-toolkit#130): such values, and
values that are no hexadecimal digits, are left out.
"""

import hashlib
import re
import zlib
from collections.abc import Mapping

AUTOV1_START = 0x100000
AUTOV1_BYTES = 0x10000
AUTOV1_DIGITS = 8
AUTOV2_DIGITS = 10
AUTOV3_DIGITS = 12
SHORTEST = 8

EMPTY_DIGESTS: tuple[str, ...] = (
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
    "da39a3ee5e6b4b0d3255bfef95601890afd80709",
    "d41d8cd98f00b204e9800998ecf8427e",
    "00000000",
)
"""SHA-256, BLAKE3, SHA-1, MD5 and CRC32 of no byte at all."""

_HEXADECIMAL = re.compile(r"[0-9a-f]{8,64}")


def is_empty_hash(value: str) -> bool:
    """Whether `value` is the hash of nothing, whole or cut to 8 digits or more, in any case, with or without `0x`."""
    digits = _digits(value)
    return len(digits) >= SHORTEST and any(empty.startswith(digits) for empty in EMPTY_DIGESTS)


def claimed_hashes(metadata: Mapping[str, str]) -> dict[str, str]:
    """The hashes that a header claims for its file, as lower-case digits; what cannot be one is left out."""
    claims = {
        "modelspec": _claim(metadata, "modelspec.hash_sha256", 64),
        "sshs_legacy": _claim(metadata, "sshs_legacy_hash", SHORTEST),
        "sshs_model": _claim(metadata, "sshs_model_hash", AUTOV3_DIGITS),
    }
    longest = claims["sshs_model"] or claims["modelspec"]
    claims["autov3"] = longest[:AUTOV3_DIGITS] if longest else None
    return {kind: value for kind, value in sorted(claims.items()) if value is not None}


def _claim(metadata: Mapping[str, str], key: str, shortest: int) -> str | None:
    digits = _digits(metadata.get(key, ""))
    is_hash = len(digits) >= shortest and _HEXADECIMAL.fullmatch(digits)
    return digits if is_hash and not is_empty_hash(digits) else None


def _digits(value: str) -> str:
    return value.strip().lower().removeprefix("0x")


class ShortHashes:
    """The short hashes of everything that passes through."""

    def __init__(self) -> None:
        self._position = 0
        self._crc = 0
        self._window = hashlib.sha256()

    def update(self, chunk: memoryview) -> None:
        """Take the next bytes of the file."""
        self._crc = zlib.crc32(chunk, self._crc)
        start, end = AUTOV1_START - self._position, AUTOV1_START + AUTOV1_BYTES - self._position
        if end > 0 and start < len(chunk):
            self._window.update(chunk[max(start, 0) : end])
        self._position += len(chunk)

    def computed(self) -> dict[str, str]:
        """What has been computed so far, without hashes of nothing."""
        hashes = {"autov1": self._window.hexdigest()[:AUTOV1_DIGITS], "crc32": f"{self._crc:08x}"}
        return {kind: value for kind, value in hashes.items() if not is_empty_hash(value)}
