import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from ui.web.pictures import SIDE, placeholder, thumbnail


@pytest.mark.parametrize("size", [(64, 64), (1024, 512), (300, 700)])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P"])
def test_every_picture_becomes_one_square(tmp_path: Path, size: tuple[int, int], mode: str) -> None:
    path = tmp_path / "picture.png"
    Image.new(mode, size).save(path)
    with Image.open(BytesIO(thumbnail(f"{mode}{size}", path))) as small:
        assert small.size == (SIDE, SIDE)
        assert small.mode == "RGB"


def test_a_thumbnail_is_made_once_for_one_content(tmp_path: Path, picture: Callable[[int], bytes]) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(picture(1))
    first = thumbnail("once", path)
    path.unlink()
    assert thumbnail("once", path) == first


def test_a_placeholder_belongs_to_its_digest() -> None:
    assert placeholder("ab" * 32) == placeholder("ab" * 32)
    assert placeholder("ab" * 32) != placeholder("cd" * 32)
    assert ElementTree.fromstring(placeholder("ab" * 32)).tag.endswith("svg")
