"""A registry with two tiny vectors and their base, made of headers and a few numbers: no pipeline is needed."""

import hashlib
import json
import re
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import torch
from safetensors.torch import save, save_file

from distill_jobs import Painter
from formats import architecture_of_folder
from registry import Registry
from registry.jobs import Queue
from workbench.intake.importing import import_file
from workbench.jobs.kinds import JOB_KINDS
from workbench.jobs.queueing import queue_of


@dataclass
class Page:
    """What a test server answers: `sent` of the body is sent where the answer is to break off."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    announces: bool = True
    sent: int | None = None


class LocalServer:
    """An HTTP server on a free port of this machine, as long as the context lasts."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def host(self) -> str:
        """HOST:PORT."""
        return f"127.0.0.1:{self._server.server_port}"

    @property
    def url(self) -> str:
        """http://HOST:PORT."""
        return f"http://{self.host}"

    def secure(self, certificate: Path, key: Path) -> None:
        """Speak TLS from now on."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)

    def answer(self, path: str) -> Page:
        """What is answered to a request for `path`, its query included."""
        raise NotImplementedError

    def __enter__(self) -> Any:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class WebServer(LocalServer):
    """Answers with the pages that a test puts there."""

    def __init__(self) -> None:
        super().__init__()
        self.pages: dict[str, Page] = {}

    def answer(self, path: str) -> Page:
        return self.pages.get(path) or self.pages.get(path.partition("?")[0], Page(b"nothing here", 404))


class HubServer(LocalServer):
    """Repositories as {name: {commit: {path: bytes}}}; `heads` names the commit of a branch or tag.

    A name is one repository, whether it is asked for as a model or as a data set.
    """

    def __init__(self) -> None:
        super().__init__()
        self.commits: dict[str, dict[str, dict[str, bytes]]] = {}
        self.heads: dict[tuple[str, str], str] = {}
        self.cards: dict[str, dict[str, Any]] = {}
        self.corrupt: set[str] = set()

    def push(self, repo: str, files: dict[str, bytes], branch: str = "main") -> str:
        """Make `files` the newest commit of a branch; the commit."""
        commit = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        self.commits.setdefault(repo, {})[commit] = files
        self.heads[repo, branch] = commit
        return commit

    def answer(self, path: str) -> Page:
        plain = unquote(urlsplit(path).path)
        if match := re.fullmatch(r"/api/(?:models|datasets)/([^/]+/[^/]+)(?:/revision/(.+))?", plain):
            return self._info(match[1], match[2] or "main")
        if match := re.fullmatch(r"/api/(?:models|datasets)/([^/]+/[^/]+)/tree/([^/]+)", plain):
            return self._tree(match[1], match[2])
        if match := re.fullmatch(r"(?:/datasets)?/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", plain):
            return self._file(match[1], match[2], match[3])
        return Page(b"no such route", 404)

    def _info(self, repo: str, revision: str) -> Page:
        commit = self._commit(repo, revision)
        if repo not in self.commits:
            return _hub_error("RepoNotFound")
        if commit is None:
            return _hub_error("RevisionNotFound")
        siblings = [
            {"rfilename": name, "size": len(content), "blobId": _git_sha1(content), **_lfs(name, content, "sha256")}
            for name, content in self.commits[repo][commit].items()
        ]
        card = self.cards.get(repo)
        about = {"id": repo, "modelId": repo, "sha": commit, "private": False, "siblings": siblings, "tags": []}
        return _json({**about, **({"cardData": card} if card else {})})

    def _tree(self, repo: str, commit: str) -> Page:
        return _json(
            [
                {
                    "type": "file",
                    "path": name,
                    "size": len(content),
                    "oid": _git_sha1(content),
                    **_lfs(name, content, "oid"),
                }
                for name, content in self.commits[repo][commit].items()
            ]
        )

    def _file(self, repo: str, commit: str, name: str) -> Page:
        content = self.commits[repo][commit][name]
        etag = hashlib.sha256(content).hexdigest() if _lfs(name, content, "oid") else _git_sha1(content)
        if name in self.corrupt:
            content = content[:-1] + bytes([content[-1] ^ 1])
        return Page(content, headers={"ETag": f'"{etag}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"})

    def _commit(self, repo: str, revision: str) -> str | None:
        known = self.commits.get(repo, {})
        return revision if revision in known else self.heads.get((repo, revision))


def _handler(server: LocalServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._send(with_body=False)

        def do_GET(self) -> None:
            self._send(with_body=True)

        def _send(self, *, with_body: bool) -> None:
            server.asked.append(f"{self.command} {self.path}")
            page = server.answer(self.path)
            self.send_response(page.status)
            for name, value in page.headers.items():
                self.send_header(name, value)
            if page.announces:
                self.send_header("Content-Length", str(len(page.body)))
            self.end_headers()
            if with_body:
                self.wfile.write(page.body if page.sent is None else page.body[: page.sent])

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler


def _json(value: object) -> Page:
    return Page(json.dumps(value).encode(), headers={"Content-Type": "application/json"})


def _hub_error(code: str) -> Page:
    return Page(b"{}", 404, {"X-Error-Code": code, "Content-Type": "application/json"})


def _git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _lfs(name: str, content: bytes, digest: str) -> dict[str, Any]:
    """How the Hub describes a large file: by its sha256."""
    if not name.endswith((".safetensors", ".bin", ".parquet", ".tar")):
        return {}
    return {"lfs": {digest: hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}}


SHAPES = {"conv_in": (8, 4, 3, 3), "mid_block.attentions.0.to_q": (8, 8), "mid_block.attentions.0.to_k": (8, 6)}


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    """An empty registry."""
    with Registry.open(tmp_path / "home") as opened:
        yield opened


def _write_base(folder: Path) -> Path:
    """A U-Net of three modules in the layout of a base."""
    (folder / "unet").mkdir(parents=True)
    (folder / "unet" / "config.json").write_text(json.dumps({"_class_name": "UNet2DConditionModel"}))
    weights = {f"{name}.weight": torch.zeros(shape) for name, shape in SHAPES.items()}
    save_file(weights, folder / "unet" / "diffusion_pytorch_model.safetensors")
    return folder


@pytest.fixture(scope="session")
def write_base() -> Callable[[Path], Path]:
    """write_base(folder): a U-Net of three modules in the layout of a base; the folder."""
    return _write_base


@pytest.fixture
def base_folder(tmp_path: Path) -> Path:
    """A U-Net of three modules in the layout of a base."""
    return _write_base(tmp_path / "base")


@pytest.fixture
def vector_file(tmp_path: Path) -> Path:
    """A kohya file of rank 2 for the base."""
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for name, (out, *rest) in SHAPES.items():
        stem = f"lora_unet_{name.replace('.', '_')}"
        tensors[f"{stem}.lora_down.weight"] = torch.randn(2, *rest, generator=generator)
        tensors[f"{stem}.lora_up.weight"] = torch.randn(out, 2, *(1 for _ in rest[1:]), generator=generator)
    save_file(tensors, tmp_path / "soft.safetensors")
    return tmp_path / "soft.safetensors"


@pytest.fixture
def stocked(registry: Registry, base_folder: Path, vector_file: Path) -> Registry:
    """The base as `tiny`, the vector as the style `soft` and as the acceleration `fast`."""
    import_file(registry, base_folder, name="tiny")
    import_file(registry, vector_file, name="soft")
    import_file(registry, vector_file, name="fast", kind="acceleration")
    return registry


@dataclass(frozen=True)
class Gallery:
    """A registry whose base `shapes` can paint, and the files that were imported into it."""

    registry: Registry
    base: Path
    files: Path

    def shapes(self, *endings: str) -> dict[str, tuple[int, ...]]:
        """The U-Net's modules with these endings, below `unet.`, with their shapes."""
        table = architecture_of_folder(self.base, "shapes")
        return {
            name.removeprefix("unet."): spec.shape
            for name, spec in table.modules.items()
            if name.startswith("unet.") and name.endswith(endings)
        }


def _write_vector(path: Path, shapes: dict[str, tuple[int, ...]], rank: int, seed: int) -> Path:
    """A kohya file whose alphas are half the rank."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, (out, *rest) in shapes.items():
        stem = f"lora_unet_{name.replace('.', '_')}"
        tensors[f"{stem}.lora_down.weight"] = 0.3 * torch.randn(rank, *rest, generator=generator)
        tensors[f"{stem}.lora_up.weight"] = torch.randn(out, rank, *(1 for _ in rest[1:]), generator=generator)
        tensors[f"{stem}.alpha"] = torch.tensor(rank / 2)
    save_file(tensors, path)
    return path


@pytest.fixture
def gallery(registry: Registry, pipeline_folder: Path, tmp_path: Path) -> Gallery:
    """The base `shapes`, the style `soft` and the acceleration `fast`, as versions and as files."""
    found = Gallery(registry, pipeline_folder, tmp_path)
    import_file(registry, pipeline_folder, name="shapes")
    soft = _write_vector(tmp_path / "soft.safetensors", found.shapes("to_q", "to_k", "conv1"), 2, seed=1)
    fast = _write_vector(tmp_path / "fast.safetensors", found.shapes("to_q", "to_v"), 2, seed=2)
    import_file(registry, soft, name="soft", kind="style")
    import_file(registry, fast, name="fast", kind="acceleration")
    return found


@pytest.fixture
def queue(gallery: Gallery) -> Queue:
    """The gallery's queue."""
    return queue_of(gallery.registry)


@pytest.fixture
def painter(gallery: Gallery) -> Painter:
    """A painter of the gallery in this process."""
    return Painter(gallery.registry, JOB_KINDS, name="studio", lease_seconds=60.0)


@pytest.fixture
def web() -> Iterator["WebServer"]:
    """A web server on this machine: `web.pages["/path"] = Page(...)`, `web.url`, and `web.asked`."""
    with WebServer() as server:
        yield server


@pytest.fixture
def hub() -> Iterator["HubServer"]:
    """A server that speaks the routes of the Hugging Face Hub which its client needs to read a repository."""
    with HubServer() as server:
        yield server


@pytest.fixture(scope="session")
def lora() -> Callable[..., bytes]:
    """lora(seed=0, metadata=None) -> the bytes of a kohya file for the base of `base_folder`."""

    def make(seed: int = 0, metadata: dict[str, str] | None = None) -> bytes:
        generator = torch.Generator().manual_seed(seed)
        tensors = {}
        for name, (out, *rest) in SHAPES.items():
            stem = f"lora_unet_{name.replace('.', '_')}"
            tensors[f"{stem}.lora_down.weight"] = torch.randn(2, *rest, generator=generator)
            tensors[f"{stem}.lora_up.weight"] = torch.randn(out, 2, *(1 for _ in rest[1:]), generator=generator)
        return save(tensors, metadata)

    return make


@pytest.fixture
def based(registry: Registry, base_folder: Path) -> Registry:
    """A registry that knows the base which `lora` makes vectors for."""
    registry.add(base_folder, kind="base", name="tiny")
    return registry
