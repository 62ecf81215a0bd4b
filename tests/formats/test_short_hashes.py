import hashlib
import zlib
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from formats import digest
from formats.short_hashes import EMPTY_DIGESTS, ShortHashes, claimed_hashes, is_empty_hash

MIB = 1 << 20
FULL = "0123456789abcdef" * 4


def test_the_refused_digests_are_those_of_no_byte() -> None:
    sha1, md5 = hashlib.sha1(b"", usedforsecurity=False), hashlib.md5(b"", usedforsecurity=False)
    whole = (hashlib.sha256(b""), blake3(b""), sha1, md5)
    assert (*(one.hexdigest() for one in whole), f"{zlib.crc32(b''):08x}") == EMPTY_DIGESTS


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.sampled_from(EMPTY_DIGESTS), st.integers(8, 64), st.booleans(), st.booleans())
def test_no_spelling_of_an_empty_hash_passes(empty: str, digits: int, upper: bool, prefixed: bool) -> None:
    value = f"{'0x' if prefixed else ''}{empty[:digits].upper() if upper else empty[:digits]}"
    assert is_empty_hash(value)
    claims = {"sshs_model_hash": value, "sshs_legacy_hash": value, "modelspec.hash_sha256": value}
    assert claimed_hashes(claims) == {}


@pytest.mark.parametrize("size", [0, 1, 100, MIB, MIB + 1, MIB + 0x8000, MIB + 0x10000, MIB + 0x10001, 5 * MIB])
@pytest.mark.parametrize("chunk", [1 << 14, 1 << 20, 7 << 20])
def test_autov1_and_crc32_are_their_definitions_however_the_file_is_cut(size: int, chunk: int) -> None:
    content = hashlib.shake_128(str(size).encode()).digest(min(size, 4096)) * (size // 4096 + 1)
    content = content[:size]
    hashes = ShortHashes()
    for start in range(0, size, chunk):
        hashes.update(memoryview(content)[start : start + chunk])
    window = content[0x100000:0x110000]
    expected = {"autov1": hashlib.sha256(window).hexdigest()[:8]} if window else {}
    expected |= {"crc32": f"{zlib.crc32(content):08x}"} if content else {}
    assert hashes.computed() == expected


def test_a_file_of_less_than_a_mebibyte_has_no_autov1(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100)
    assert "autov1" not in digest(path).short


def test_autov3_is_the_beginning_of_the_trainers_hash_before_the_modelspecs() -> None:
    other = FULL[::-1]
    both = claimed_hashes({"sshs_model_hash": FULL.upper(), "modelspec.hash_sha256": f"0x{other}"})
    assert both == {"autov3": FULL[:12], "modelspec": other, "sshs_model": FULL}
    assert claimed_hashes({"modelspec.hash_sha256": f"0x{other}"})["autov3"] == other[:12]
    assert claimed_hashes({"sshs_legacy_hash": "ABCD1234"}) == {"sshs_legacy": "abcd1234"}


@pytest.mark.parametrize("value", ["", "0x", "xyz", "12345", FULL[:-1] + "g", FULL + "0", "N/A", "<script>"])
def test_a_claim_that_is_no_hash_is_left_out(value: str) -> None:
    assert claimed_hashes({"sshs_model_hash": value, "sshs_legacy_hash": value, "modelspec.hash_sha256": value}) == {}
