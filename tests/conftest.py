"""What every room shares: a base that paints, real databases (SQLite files, a private PostgreSQL), and a real Ray.

A test that asks for `database_url` runs once on each. One that is marked `both_databases` does so through the fixtures
that it uses, such as `registry`. Where PostgreSQL is missing, those runs are skipped and say why; with `postgres` in
TAU_TEST_REQUIRE they fail instead. So it is with `ray` and `ray_cluster`, and with `browser` and `chromium`.
"""

import contextlib
import inspect
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, create_engine, make_url, text

from scripts.servers import await_answer, free_port

LONGEST = "tests/workbench/demo/test_story.py"

DATABASES = ("sqlite", "postgresql")
UNPRIVILEGED = ("postgres", "nobody")
"""Accounts that a server may run as where the tests run as root, which PostgreSQL refuses to be."""

CLEAN_UP = 'read -r _; "$0" stop -w -m immediate -D "$1/data"; rm -rf "$1"'
"""Waits for the end of its standard input, which this process holds open."""

SETTINGS = (
    *("-c", "listen_addresses=", "-c", "max_connections=200", "-c", "shared_buffers=32MB"),
    *("-c", "fsync=off", "-c", "full_page_writes=off", "-c", "log_min_messages=panic"),
)


def pytest_configure(config: pytest.Config) -> None:
    os.environ.setdefault("TAU_DEVICE", "cpu")  # where the pictures that tests compare are painted, whatever there is
    config.addinivalue_line("markers", "both_databases: run on SQLite and on PostgreSQL")
    config.addinivalue_line("markers", "alembic: carried by the laws that pytest-alembic states")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    asks = "database_url" in inspect.signature(metafunc.function).parameters
    marked = metafunc.definition.get_closest_marker("both_databases") is not None
    if "backend" in metafunc.fixturenames and (asks or marked):
        metafunc.parametrize("backend", DATABASES, indirect=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest file first: processes that share the tests take them in order, and it would end last."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> str:
    """Which database this run is on; SQLite unless the test asks for both."""
    return str(getattr(request, "param", DATABASES[0]))


@pytest.fixture
def database_url(backend: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """The address of a database that is this test's own, and empty."""
    if backend == "sqlite":
        return f"sqlite:///{tmp_path / 'own.db'}"
    new_database: Callable[[str], str] = request.getfixturevalue("new_database")
    return new_database("template0")


@pytest.fixture
def new_database(postgres_cluster: URL) -> Iterator[Callable[[str], str]]:
    """new_database(template) -> the address of a copy of a database, dropped at the end of the test."""
    made: list[str] = []

    def make(template: str) -> str:
        made.append(f"test_{next(NUMBERS)}")
        administer(postgres_cluster, f"CREATE DATABASE {made[-1]} TEMPLATE {template}")
        return postgres_cluster.set(database=made[-1]).render_as_string(hide_password=False)

    yield make
    for name in made:
        administer(postgres_cluster, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def migrated_template(postgres_cluster: URL) -> str:
    """A PostgreSQL database at the newest schema, to be copied."""
    from registry.dialect import open_engine
    from registry.schema import upgrade

    administer(postgres_cluster, "CREATE DATABASE migrated TEMPLATE template0")
    engine = open_engine(postgres_cluster.set(database="migrated"))
    upgrade(engine)
    engine.dispose()
    return "migrated"


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[URL]:
    """The address of a new server's maintenance database; only this machine's socket reaches it."""
    if find_spec("psycopg") is None:
        lack("postgres", "psycopg is not installed")
    programs = {name: program(name) for name in ("initdb", "pg_ctl")}
    missing = sorted(name for name, path in programs.items() if path is None)
    if missing:
        lack("postgres", f"PostgreSQL's {' and '.join(missing)} are not installed")
    folder = Path(tempfile.mkdtemp(prefix="tau-postgres-"))
    account = owner_of(folder)
    with ended_with_us(programs, folder, account):
        start(programs, folder, account)
        yield URL.create("postgresql+psycopg", account, database="postgres", query={"host": str(folder)})


RAY_UNTIL_WE_END = '"$@" & ray=$!; read -r _; kill $ray; wait $ray'
"""Runs a program until the end of its standard input, which this process holds open."""

RAY_PATIENCE_SECONDS = 120


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[str]:
    """The address of a new Ray head's jobs: two CPUs, ports of its own, only this machine reaches it."""
    if find_spec("ray") is None:
        lack("ray", "ray is not installed")
    ports = {name: free_port() for name in ("dashboard", "ray-client-server", "dashboard-agent-listen")}
    address, folder = f"http://127.0.0.1:{ports['dashboard']}", Path(tempfile.mkdtemp(prefix="tau-ray-"))
    options = [f"--{name}-port={port}" for name, port in ports.items()]
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=2", "--port=0"]
    command += [*options, "--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1", f"--temp-dir={folder}"]
    command += ["--disable-usage-stats", "--object-store-memory=80000000"]
    functions = str(Path(__file__).parent / "distill_jobs" / "functions")
    path = os.pathsep.join([functions, *filter(None, sys.path)])
    with (folder / "start.log").open("wb") as log:
        head = subprocess.Popen(
            ["sh", "-c", RAY_UNTIL_WE_END, "sh", *command],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"},
        )
    try:
        await_answer(f"{address}/api/version", head, folder / "start.log", RAY_PATIENCE_SECONDS)
        yield address
    finally:
        head.communicate(timeout=RAY_PATIENCE_SECONDS)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def chromium() -> str:
    """Where the browser is that Playwright drives."""
    from scripts.browsing import find_chromium

    if find_spec("playwright") is None:
        lack("browser", "playwright is not installed")
    found = find_chromium()
    if found is None:
        lack("browser", "chromium is not installed")
    return str(found)


NUMBERS = count(1)


def required(component: str) -> bool:
    """Whether a test may not be skipped for want of `component`."""
    return component in os.environ.get("TAU_TEST_REQUIRE", "").replace(",", " ").split()


def lack(component: str, reason: str) -> None:
    """Skip the test, or fail it where `component` is required."""
    if required(component):
        pytest.fail(f"{reason}, but TAU_TEST_REQUIRE names {component}")
    pytest.skip(reason)


def program(name: str) -> str | None:
    """A program of the server's: on the path, or where pg_config says."""
    if found := shutil.which(name):
        return found
    if config := shutil.which("pg_config"):
        folder = subprocess.run([config, "--bindir"], capture_output=True, text=True, check=True).stdout.strip()
        return shutil.which(name, path=folder)
    return None


def owner_of(folder: Path) -> str:
    """The account that the server runs as, the folder made its own."""
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid()).pw_name
    names = {entry.pw_name for entry in pwd.getpwall()}
    account = next((name for name in UNPRIVILEGED if name in names), None)
    if account is None:
        lack("postgres", f"PostgreSQL does not run as root, and there is none of {', '.join(UNPRIVILEGED)}")
    shutil.chown(folder, account)
    return str(account)


def start(programs: dict[str, str | None], folder: Path, account: str) -> None:
    """Make a cluster whose own order of texts is a language's, not the bytes', and start its server."""
    data = str(folder / "data")
    encoding = ["--encoding=UTF8", "--locale=C", "--auth=trust", f"--username={account}", "--no-sync"]
    if "--icu-locale" in run_as(account, folder, [str(programs["initdb"]), "--help"]):
        encoding += ["--locale-provider=icu", "--icu-locale=en"]
    run_as(account, folder, [str(programs["initdb"]), "--pgdata", data, *encoding])
    options = " ".join([*SETTINGS, "-k", str(folder)])
    log = str(folder / "log")
    run_as(account, folder, [str(programs["pg_ctl"]), "start", "-w", "-D", data, "-l", log, "-o", options])


@contextlib.contextmanager
def ended_with_us(programs: dict[str, str | None], folder: Path, account: str) -> Iterator[None]:
    """A shell that ends the server and removes the folder at the end, also when this process is killed before it."""
    command = ["sh", "-c", CLEAN_UP, str(programs["pg_ctl"]), str(folder)]
    keeper = subprocess.Popen(
        command,
        cwd=folder.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        **as_account(account),
    )
    try:
        yield
    finally:
        keeper.communicate(timeout=120)


def as_account(account: str) -> dict[str, Any]:
    """What makes subprocess run a program as `account`."""
    if os.geteuid() != 0:
        return {}
    return {"user": account, "group": pwd.getpwnam(account).pw_gid, "extra_groups": []}


def run_as(account: str, folder: Path, command: list[str]) -> str:
    """Run a program as `account`; what it prints."""
    done = subprocess.run(
        command,
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=120,
        **as_account(account),
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit {done.returncode}: {done.stdout.strip()}")
    return done.stdout


def administer(cluster: URL, statement: str) -> None:
    """Run one statement outside any transaction."""
    engine = create_engine(make_url(cluster), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()


@pytest.fixture(scope="session")
def pipeline_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base of the real classes with seeded random weights, fp32: small enough to paint in a second."""
    import torch
    from diffusers import StableDiffusionPipeline, UNet2DConditionModel

    from demo.training import networks

    folder = tmp_path_factory.mktemp("pipeline") / "shapes"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tokenizer = networks.write_tokenizer(folder / "tokenizer")
        StableDiffusionPipeline(
            vae=networks.autoencoder(),
            text_encoder=networks.text_encoder(len(tokenizer)),
            tokenizer=tokenizer,
            unet=UNet2DConditionModel(
                sample_size=8,
                block_out_channels=(16, 32),
                down_block_types=("CrossAttnDownBlock2D",) * 2,
                up_block_types=("CrossAttnUpBlock2D",) * 2,
                layers_per_block=1,
                cross_attention_dim=networks.WIDTH,
                attention_head_dim=4,
                norm_num_groups=8,
            ),
            scheduler=networks.scheduler(),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def sdxl_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base of SDXL's classes with seeded random weights: two text encoders, sizes told, an empty prompt of zeros."""
    import torch

    folder = tmp_path_factory.mktemp("sdxl") / "tiny"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        write_sdxl(folder)
    return folder


def write_sdxl(folder: Path) -> None:
    """Write a tiny SDXL pipeline whose two tokenizers pad differently, as SDXL's do."""
    from diffusers import StableDiffusionXLPipeline

    from demo.training import networks

    first, second = (networks.write_tokenizer(folder / name) for name in ("tokenizer", "tokenizer_2"))
    second.pad_token = "a</w>"
    encoder = networks.text_encoder(len(first))
    StableDiffusionXLPipeline(
        vae=networks.autoencoder(),
        text_encoder=encoder,
        text_encoder_2=second_text_encoder(encoder.config),
        tokenizer=first,
        tokenizer_2=second,
        unet=sdxl_unet(networks.WIDTH + 64),
        scheduler=networks.scheduler(),
        force_zeros_for_empty_prompt=True,
        add_watermarker=False,
    ).save_pretrained(folder)


def second_text_encoder(like: Any) -> Any:
    """A three-layer text encoder of width 64 with a projection to 32, over the vocabulary of the first's config."""
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    shape = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3, "projection_dim": 32}
    return CLIPTextModelWithProjection(CLIPTextConfig(**{**like.to_dict(), "architectures": None, **shape}))


def sdxl_unet(text_width: int) -> Any:
    """0.3 M parameters in SDXL's blocks: transformers of several layers inside, none outside, linear projections."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        transformer_layers_per_block=(1, 2),
        cross_attention_dim=text_width,
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        norm_num_groups=8,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 32,
    )


@pytest.fixture(scope="session")
def write_checkpoint() -> Callable[[Path, Path], Path]:
    """write_checkpoint(folder, path): the base of a diffusers folder as one file under the original code's names."""
    return _write_checkpoint


def _write_checkpoint(folder: Path, path: Path) -> Path:
    from safetensors.torch import load_file, save_file

    is_sdxl = (folder / "text_encoder_2").is_dir()
    stored = {name: load_file(next((folder / name).glob("*.safetensors"))) for name in ("unet", "vae", "text_encoder")}
    state = {**_original_unet(folder, stored["unet"]), **_original_vae(stored["vae"])}
    prefix = "conditioner.embedders.0.transformer." if is_sdxl else "cond_stage_model.transformer."
    state |= {f"{prefix}text_model.{key.removeprefix('text_model.')}": t for key, t in stored["text_encoder"].items()}
    if is_sdxl:
        second = load_file(next((folder / "text_encoder_2").glob("*.safetensors")))
        state |= _openclip("conditioner.embedders.1.model.", second)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({key: tensor.contiguous() for key, tensor in state.items()}, path)
    return path


def _original_unet(folder: Path, state: dict[str, Any]) -> dict[str, Any]:
    from formats import architecture_of_folder
    from formats.sgm import layers_per_block, sgm_name, up_blocks_with_attention

    table = architecture_of_folder(folder, "original").modules
    layers, attended = layers_per_block(table), up_blocks_with_attention(table)
    renamed = {}
    for key, tensor in state.items():
        module, _, end = key.rpartition(".")
        renamed[f"model.diffusion_model.{sgm_name(module, layers, attended)}.{end}"] = tensor
    return renamed


def _original_vae(state: dict[str, Any]) -> dict[str, Any]:
    """Attention is made of 1x1 convolutions there."""
    from sampling.autoencoder import original_name

    blocks = 1 + max(int(key.split(".")[2]) for key in state if key.startswith("encoder.down_blocks."))
    is_linear = {key for key, tensor in state.items() if ".attentions." in key and tensor.ndim == 2}
    return {
        original_name(key, blocks): tensor[:, :, None, None] if key in is_linear else tensor
        for key, tensor in state.items()
    }


def _openclip(prefix: str, state: dict[str, Any]) -> dict[str, Any]:
    """OpenCLIP's names: query, key and value in one tensor, the projection the other way round."""
    import torch

    outside = {
        "embeddings.token_embedding.weight": "token_embedding.weight",
        "embeddings.position_embedding.weight": "positional_embedding",
        "final_layer_norm.weight": "ln_final.weight",
        "final_layer_norm.bias": "ln_final.bias",
    }
    inside = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}
    found = {}
    for key, tensor in state.items():
        name = key.removeprefix("text_model.")
        if name == "text_projection.weight":
            found["text_projection"] = tensor.T
        elif name in outside:
            found[outside[name]] = tensor
        elif ".self_attn.q_proj." in name:
            projections = [state[key.replace("q_proj", f"{one}_proj")] for one in "qkv"]
            layer, end = name.split(".")[2], name.rpartition(".")[2]
            found[f"transformer.resblocks.{layer}.attn.in_proj_{end}"] = torch.cat(projections)
        elif not re.search(r"self_attn\.[kv]_proj", name):
            layer, _, rest = name.removeprefix("encoder.layers.").partition(".")
            module, _, end = rest.rpartition(".")
            module = inside.get(module, module.replace("self_attn", "attn"))
            found[f"transformer.resblocks.{layer}.{module}.{end}"] = tensor
    return {prefix + key: tensor for key, tensor in found.items()}
