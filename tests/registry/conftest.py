"""Registries in temporary folders, and byte-exact files of a base too small to paint but true in layout."""

import json
import math
import os
import random
import secrets
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

import pytest

from registry import Registry
from registry.jobs import Queue

UNET = {
    "conv_in": (8, 4, 3, 3),
    "down_blocks.0.attentions.0.proj_in": (8, 8),
    "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k": (8, 6),
    "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_v": (8, 6),
    "mid_block.attentions.0.transformer_blocks.0.attn2.to_k": (8, 6),
}
TEXT_ENCODER = {"text_model.encoder.layers.0.self_attn.q_proj": (6, 6)}


def safetensors(shapes: Mapping[str, tuple[int, ...]], seed: int, metadata: Mapping[str, str] | None = None) -> bytes:
    """A safetensors file of seeded bytes that are finite in F32."""
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    draw, data = random.Random(seed), b""
    for name, shape in shapes.items():
        content = b"".join(bytes([draw.randrange(256), 0, 0, 60]) for _ in range(math.prod(shape)))
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


@pytest.fixture(scope="session", autouse=True)
def clean_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No setting of whoever runs the tests reaches them."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HOME", "DATABASE_URL", "BLOB_URL", "USER"):
            patch.delenv(f"TAU_{name}", raising=False)
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        yield


@pytest.fixture(scope="session")
def new_home(clean_environment: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a migrated, empty database, to be copied."""
    home = tmp_path_factory.mktemp("new") / "home"
    Registry.open(home).close()
    return home


@pytest.fixture
def registry(tmp_path: Path, new_home: Path, backend: str, request: pytest.FixtureRequest) -> Iterator[Registry]:
    """A new registry on a real folder and a real SQLite file, or a PostgreSQL database where the test asks for both."""
    shutil.copytree(new_home, tmp_path / "home")
    url = None
    if backend == "postgresql":
        url = request.getfixturevalue("new_database")(request.getfixturevalue("migrated_template"))
    with Registry.open(tmp_path / "home", url, actor="ann") as opened:
        yield opened


@pytest.fixture
def queue(registry: Registry) -> Queue:
    """The queue of that registry."""
    return Queue(registry)


@pytest.fixture
def write_base(tmp_path: Path) -> Callable[..., Path]:
    """write_base(name="tiny", width=8, seed=0) -> a diffusers folder; another width is another architecture."""

    def write(name: str = "tiny", width: int = 8, seed: int = 0) -> Path:
        folder = tmp_path / "files" / name
        shapes = {key: tuple(width if size == 8 else size for size in shape) for key, shape in UNET.items()}
        parts = {"unet/diffusion_pytorch_model": shapes, "text_encoder/model": TEXT_ENCODER}
        for place, modules in parts.items():
            path = folder / f"{place}.safetensors"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(safetensors({f"{module}.weight": shape for module, shape in modules.items()}, seed))
            path.with_name("config.json").write_text("{}")
        (folder / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
        (folder / "judge").mkdir(exist_ok=True)
        (folder / "judge" / "config.json").write_text("{}")
        return folder

    return write


@pytest.fixture
def write_vector(tmp_path: Path) -> Callable[..., Path]:
    """write_vector(name="papercut", rank=2, seed=0, metadata=None, width=8) -> a kohya LoRA of the tiny base."""

    def write(
        name: str = "papercut", rank: int = 2, seed: int = 0, metadata: Mapping[str, str] | None = None, width: int = 8
    ) -> Path:
        shapes: dict[str, tuple[int, ...]] = {}
        for module, (out, inside, *kernel) in UNET.items():
            stem = f"lora_unet_{module.replace('.', '_')}"
            out, inside = (width if size == 8 else size for size in (out, inside))
            shapes[f"{stem}.lora_down.weight"] = (rank, inside, *kernel)
            shapes[f"{stem}.lora_up.weight"] = (out, rank, *(1 for _ in kernel))
        path = tmp_path / "files" / f"{name}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(safetensors(shapes, seed, metadata))
        return path

    return write


@pytest.fixture
def base(registry: Registry, write_base: Callable[..., Path]) -> str:
    """The tiny base, registered; its reference."""
    return registry.add(write_base(), kind="base").ref


@pytest.fixture
def stored_files(registry: Registry) -> Callable[[], set[str]]:
    """stored_files() -> the sha256 of every blob in place, and the path of everything left in staging."""

    def files() -> set[str]:
        found = (path for path in registry.store.folder.rglob("*") if path.is_file())
        return {path.name if len(path.name) == 64 else str(path) for path in found}

    return files


S3_SERVER = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, False)
server.start()
print(*server.get_host_and_port(), flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="session")
def bucket() -> Iterator[str]:
    """A bucket on a real S3 server: TAU_TEST_S3_URL, with its AWS_* variables, or moto's in a process of its own."""
    if url := os.environ.get("TAU_TEST_S3_URL"):
        yield url.rstrip("/")
        return
    if absent := [name for name in ("obstore", "moto", "flask_cors") if find_spec(name) is None]:
        required = "s3" in os.environ.get("TAU_TEST_REQUIRE", "").replace(",", " ").split()
        (pytest.fail if required else pytest.skip)(f"no S3 server: {', '.join(absent)} is not installed")
    with subprocess.Popen(
        [sys.executable, "-c", S3_SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as server:
        assert server.stdout is not None
        endpoint = "http://{}:{}".format(*server.stdout.readline().decode().split())
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_ENDPOINT_URL", endpoint)
            patch.setenv("AWS_REGION", "us-east-1")
            for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
                patch.setenv(name, "test")
            with urllib.request.urlopen(urllib.request.Request(f"{endpoint}/tests", method="PUT")):
                yield "s3://tests"
        server.communicate()


@pytest.fixture(params=["folder", "bucket"])
def keeper(registry: Registry, request: pytest.FixtureRequest) -> Registry:
    """A new registry whose blobs are in a real folder, then one whose blobs are in a real bucket."""
    if request.param == "bucket":
        from registry.blobs.s3 import S3Blobs

        address = f"{request.getfixturevalue('bucket')}/{secrets.token_hex(6)}"
        registry.store = S3Blobs(address, registry.home / "cache")
    return registry


@pytest.fixture
def kept_digests(keeper: Registry) -> Callable[[], set[str]]:
    """kept_digests() -> the sha256 of every blob in the keeper's store."""

    def digests() -> set[str]:
        return {found.name for found in keeper.store.listed()}

    return digests
