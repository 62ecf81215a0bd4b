"""The same captioned pictures in every kind of source."""

import io
import json
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

Picture = tuple[str, bytes, str]
"""Its name, its packed bytes, its caption."""


@pytest.fixture(scope="session")
def pictures() -> list[Picture]:
    """Seven pictures of noise, of two sizes and three formats."""
    rng = np.random.default_rng(0)
    made = []
    for i in range(7):
        pixels = rng.integers(0, 256, size=(64, 64 + 32 * (i % 2), 3), dtype=np.uint8)
        packed = io.BytesIO()
        suffix, format = (("png", "PNG"), ("jpg", "JPEG"), ("webp", "WEBP"))[i % 3]
        Image.fromarray(pixels).save(packed, format)
        made.append((f"{i:02d}.{suffix}", packed.getvalue(), f"ein großes Bild, Nummer {i % 4}"))
    return made


def write_texts(folder: Path, pictures: Sequence[Picture]) -> Path:
    """A folder with a .txt beside each picture."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, contents, caption in pictures:
        (folder / name).write_bytes(contents)
        (folder / name).with_suffix(".txt").write_text(caption, encoding="utf-8")
    return folder


def write_metadata(folder: Path, pictures: Sequence[Picture]) -> Path:
    """A folder with metadata.jsonl."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, contents, _ in pictures:
        (folder / name).write_bytes(contents)
    rows = [json.dumps({"file_name": name, "text": caption}) for name, _, caption in pictures]
    (folder / "metadata.jsonl").write_text("\n".join(rows), encoding="utf-8")
    return folder


def write_table(path: Path, pictures: Sequence[Picture], *, group: int = 3, named: bool = True) -> Path:
    """A parquet file in the layout of Hugging Face's image data sets, or with plain bytes where not `named`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images: pa.Array = pa.array([contents for _, contents, _ in pictures])
    if named:
        images = pa.array([{"bytes": contents, "path": name} for name, contents, _ in pictures])
    table = pa.table({"image": images, "text": [caption for _, _, caption in pictures]})
    pq.write_table(table, path, row_group_size=group)
    return path


def write_tar(path: Path, members: Mapping[str, bytes]) -> Path:
    """A tar archive of these members, in this order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, contents in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(contents)
            archive.addfile(member, io.BytesIO(contents))
    return path


def samples(pictures: Sequence[Picture], captions: str = "txt") -> dict[str, bytes]:
    """The members of a shard."""
    members = {}
    for name, contents, caption in pictures:
        said = caption if captions == "txt" else json.dumps({"caption": caption, "width": 64})
        members |= {name: contents, f"{name.split('.')[0]}.{captions}": said.encode()}
    return members


Write = Callable[[Path, Sequence[Picture]], str]
KINDS: dict[str, Write] = {
    "texts": lambda folder, pictures: str(write_texts(folder, pictures)),
    "metadata": lambda folder, pictures: str(write_metadata(folder, pictures)),
    "one parquet file": lambda folder, pictures: str(write_table(folder / "birds.parquet", pictures)),
    "a folder of parquet files": lambda folder, pictures: _tables(folder, pictures),
    "one shard": lambda folder, pictures: str(write_tar(folder / "birds.tar", samples(pictures))),
    "shards with json": lambda folder, pictures: _shards(folder, pictures),
}
"""Each writes pictures below a folder and returns what is read."""


def _tables(folder: Path, pictures: Sequence[Picture]) -> str:
    write_table(folder / "data" / "1.parquet", pictures[:4])
    write_table(folder / "data" / "2.parquet", pictures[4:], group=100)
    return str(folder)


def _shards(folder: Path, pictures: Sequence[Picture]) -> str:
    for number, part in enumerate((pictures[:2], pictures[2:])):
        write_tar(folder / f"birds-{number:03d}.tar", samples(part, "json"))
    return str(folder / "birds-{000..001}.tar")


@pytest.fixture(params=KINDS)
def write(request: pytest.FixtureRequest) -> Write:
    """write(folder, pictures) -> what is read, for every kind of source."""
    return KINDS[request.param]


@pytest.fixture(name="write_texts")
def _write_texts() -> Callable[..., Path]:
    return write_texts


@pytest.fixture(name="write_table")
def _write_table() -> Callable[..., Path]:
    return write_table


@pytest.fixture(name="write_tar")
def _write_tar() -> Callable[..., Path]:
    return write_tar


@pytest.fixture(name="samples")
def _samples() -> Callable[..., dict[str, bytes]]:
    return samples
