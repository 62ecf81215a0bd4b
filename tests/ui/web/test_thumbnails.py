import hashlib
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import event

from registry import CorruptBlob, Registry
from ui.web.pictures import SIDE, Blobs, placeholder, thumbnail


@pytest.fixture
def blobs(registry: Registry) -> Callable[..., Blobs]:
    """blobs(content, ...) -> where these pictures are stored."""

    def store(*contents: bytes) -> Blobs:
        return Blobs(registry, [registry.put_blob(content) for content in contents])

    return store


def png(mode: str, size: tuple[int, int]) -> bytes:
    """A picture of one colour."""
    buffer = BytesIO()
    Image.new(mode, size).save(buffer, format="PNG")
    return buffer.getvalue()


def digest_of(content: bytes) -> str:
    """The sha256 of bytes."""
    return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("size", [(64, 64), (1024, 512), (300, 700)])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P"])
def test_every_picture_becomes_one_square(blobs: Callable[..., Blobs], size: tuple[int, int], mode: str) -> None:
    content = png(mode, size)
    with Image.open(BytesIO(thumbnail(digest_of(content), blobs(content)))) as small:
        assert small.size == (SIDE, SIDE)
        assert small.mode == "RGB"
        assert small.format == ("PNG" if size == (64, 64) else "JPEG")


def test_a_thumbnail_is_made_once_for_one_content(
    registry: Registry, blobs: Callable[..., Blobs], picture: Callable[[int], bytes]
) -> None:
    content = picture(1)
    first = thumbnail(digest_of(content), blobs(content))
    assert thumbnail(digest_of(content), Blobs(registry, [])) == first


def test_pictures_are_found_together_and_none_while_their_thumbnails_are_kept(
    registry: Registry, picture: Callable[[int], bytes]
) -> None:
    asked: list[str] = []
    event.listen(registry.database.engine, "before_cursor_execute", lambda *said: asked.append(said[2]))
    digests = [registry.put_blob(picture(seed)) for seed in range(4)]
    counts = []
    for _ in range(2):
        asked.clear()
        blobs = Blobs(registry, digests)
        [thumbnail(digest, blobs) for digest in digests]
        counts.append(len([statement for statement in asked if "location" in statement]))
    assert counts == [1, 0]


def test_a_damaged_picture_spoils_no_other(registry: Registry, picture: Callable[[int], bytes]) -> None:
    sound, damaged = (registry.put_blob(picture(seed)) for seed in (1, 2))
    path = registry.blob_path(damaged)
    path.chmod(0o600)
    path.write_bytes(b"")
    blobs = Blobs(registry, [sound, damaged])
    assert thumbnail(sound, blobs)
    with pytest.raises(CorruptBlob):
        thumbnail(damaged, blobs)


def test_of_a_blurred_picture_nothing_sharp_is_left(registry: Registry) -> None:
    stripes = np.zeros((512, 512, 3), dtype=np.uint8)
    stripes[:, ::16] = 255
    buffer = BytesIO()
    Image.fromarray(stripes).save(buffer, format="PNG")
    digest = registry.put_blob(buffer.getvalue())
    sharp, blurred = (
        np.asarray(Image.open(BytesIO(thumbnail(digest, Blobs(registry, [digest]), blurred=one)))).astype(float)
        for one in (False, True)
    )
    assert np.abs(np.diff(sharp, axis=1)).max() > 20
    assert np.abs(np.diff(blurred, axis=1)).max() < 4


def test_a_placeholder_belongs_to_its_digest() -> None:
    assert placeholder("ab" * 32) == placeholder("ab" * 32)
    assert placeholder("ab" * 32) != placeholder("cd" * 32)
    assert ElementTree.fromstring(placeholder("ab" * 32)).tag.endswith("svg")
