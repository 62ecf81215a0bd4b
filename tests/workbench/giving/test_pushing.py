"""Pushing, with the real client, to a server of this machine that speaks the Hub's writing routes."""

import base64
import hashlib
import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
import yaml

from registry import Registry
from workbench.errors import DownloadFailed, HubRefused, InvalidAddress, NotPublished
from workbench.giving.pushing import push
from workbench.intake.hub import import_hub
from workbench.intake.importing import import_file

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<:DeprecationWarning")  # the client's own upload

REPO = "ann/papercut"
TOKEN = "hf_" + "a" * 34

Answer = tuple[int, Mapping[str, Any]]


class WritableHub:
    """The routes that the client writes with; repositories live in `reading`, which answers what it reads with."""

    def __init__(self, reading: Any) -> None:
        self.reading = reading
        self.large: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.messages: list[str] = []
        self.before_commit: Callable[[], object] = lambda: None
        self.spoils = False
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> "WritableHub":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def files(self, repo: str = REPO) -> dict[str, bytes]:
        """What the main branch holds."""
        return dict(self.reading.commits[repo][self.reading.heads[repo, "main"]])

    def answer(self, method: str, path: str, body: bytes) -> Answer:
        """What a writing request is answered."""
        if path.startswith("/large/"):
            return self._store(path.removeprefix("/large/"), body)
        if path == "/api/validate-yaml":
            return self._validate(json.loads(body)["content"])
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if match := re.fullmatch(r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", path):
            return 200, {"transfer": "basic", "objects": [self._action(one) for one in json.loads(body)["objects"]]}
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/(preupload|commit|paths-info)/([^/]+)", path):
            repo, what, revision = match.groups()
            held = self.reading.commits.get(repo)
            if held is None:
                return 404, {"error": "Repository not found"}
            if what == "paths-info":
                return 200, self._paths(held[revision], parse_qs(body.decode())["paths"])  # type: ignore[return-value]
            return self._modes(repo, json.loads(body)) if what == "preupload" else self._commit(repo, body)
        return 404, {"error": f"no route {method} {path}"}

    def _create(self, asked: dict[str, Any]) -> Answer:
        repo = f"{asked['organization']}/{asked['name']}"
        if repo in self.reading.commits:
            return 409, {"error": "You already created this model repo", "url": f"{self.url}/{repo}"}
        self.messages.append(f"create {repo} {asked.get('visibility')}")
        self.reading.push(repo, {".gitattributes": b"*.safetensors filter=lfs\n"})
        return 200, {"url": f"{self.url}/{repo}", "name": repo, "id": repo}

    def _validate(self, card: str) -> Answer:
        front = yaml.safe_load(card.split("---\n")[1])
        ok = isinstance(front, dict) and isinstance(front.get("tags", []), list)
        return (200, {"errors": [], "warnings": []}) if ok else (400, {"errors": [{"message": "bad front matter"}]})

    def _modes(self, repo: str, asked: dict[str, Any]) -> Answer:
        present = {path: _oid(path, content) for path, content in self.files(repo).items()}
        modes = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if _is_large(file["path"]) else "regular",
                "shouldIgnore": False,
                "oid": present.get(file["path"]),
            }
            for file in asked["files"]
        ]
        return 200, {"files": modes}

    def _action(self, asked: dict[str, Any]) -> dict[str, Any]:
        if asked["oid"] in self.large:
            return asked
        return {**asked, "actions": {"upload": {"href": f"{self.url}/large/{asked['oid']}"}}}

    def _store(self, oid: str, body: bytes) -> Answer:
        if hashlib.sha256(body).hexdigest() != oid:
            return 422, {"error": "not these bytes"}
        self.large[oid] = body
        return 200, {}

    def _commit(self, repo: str, body: bytes) -> Answer:
        self.before_commit()
        lines = [json.loads(line) for line in body.splitlines()]
        header = lines[0]["value"]
        if header.get("parentCommit") not in (None, self.reading.heads[repo, "main"]):
            return 412, {"error": "A commit has happened since"}
        files = self.files(repo)
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"]) + b"?" * self.spoils
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.large[value["oid"]]
            else:
                del files[value["path"]]
        self.messages.append(f"commit {header['summary']}")
        commit = self.reading.push(repo, files)
        self.reading.cards[repo] = yaml.safe_load(files["README.md"].decode().split("---\n")[1])
        return 200, {"commitUrl": f"{self.url}/{repo}/commit/{commit}", "commitOid": commit, "hookOutput": ""}

    def _paths(self, files: dict[str, bytes], paths: list[str]) -> list[dict[str, Any]]:
        found = []
        for path in paths:
            if path in files:
                content = files[path]
                large = {"oid": _oid(path, content), "size": len(content), "pointerSize": 130}
                about = {"type": "file", "path": path, "size": len(content), "oid": _git_sha1(content)}
                found.append(about | ({"lfs": large} if _is_large(path) else {}))
        return found


def _handler(hub: WritableHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = hub.reading.answer(self.path)
            self._send(page.status, page.body, page.headers)

        def do_POST(self) -> None:
            self._write("POST")

        def do_PUT(self) -> None:
            self._write("PUT")

        def _write(self, method: str) -> None:
            body = self._body()
            path = unquote(urlsplit(self.path).path)
            hub.asked.append(f"{method} {path}")
            free = path.startswith("/large/") or path.endswith("/paths-info") or "/paths-info/" in path
            if not free and self.headers.get("Authorization") != f"Bearer {TOKEN}":
                self._send(403, b'{"error": "Forbidden: write access needed"}', {})
                return
            status, value = hub.answer(method, path, body)
            self._send(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            chunks = []
            while size := int(self.rfile.readline(), 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)

        def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler


def _is_large(path: str) -> bool:
    return path.endswith(".safetensors")


def _git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _oid(path: str, content: bytes) -> str:
    return hashlib.sha256(content).hexdigest() if _is_large(path) else _git_sha1(content)


@pytest.fixture
def target(hub: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[WritableHub]:
    """A Hub that can be written to by whoever has the token; its large files take the plain LFS route."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    with WritableHub(hub) as server:
        yield server


@pytest.fixture(scope="module")
def _stocked_home(lora: Callable[..., bytes], write_base: Callable[..., Path], tmp_path_factory: Any) -> Path:
    folder = Path(tmp_path_factory.mktemp("push"))
    (folder / "papercut.safetensors").write_bytes(lora(seed=3))
    (folder / "draft.safetensors").write_bytes(lora(seed=4))
    with Registry.open(folder / "home") as registry:
        registry.add(write_base(folder / "base"), kind="base", name="tiny")
        words: dict[str, Any] = {"base": "tiny", "license": "openrail++", "trigger_words": ("paper",)}
        import_file(registry, folder / "papercut.safetensors", **words)
        import_file(registry, folder / "draft.safetensors", draft=True)
    return folder / "home"


@pytest.fixture
def papercut(_stocked_home: Path, tmp_path: Path) -> Iterator[Registry]:
    """A registry with the published style `papercut` on the base `tiny`, and the draft `draft`."""
    with Registry.open(Path(shutil.copytree(_stocked_home, tmp_path / "home"))) as registry:
        yield registry


def test_a_push_makes_the_repository_and_one_commit_that_holds_the_export(
    papercut: Registry, target: WritableHub
) -> None:
    pushed = push(papercut, "papercut", REPO, endpoint=target.url, base_model="ann/tiny", private=True)
    assert pushed.is_new
    assert target.messages == [f"create {REPO} private", "commit papercut:1: papercut"]
    files = target.files()
    assert set(files) == {".gitattributes", "README.md", "papercut.safetensors", "provenance.json"}
    sole = papercut.get("papercut").artifacts[0]
    assert hashlib.sha256(files["papercut.safetensors"]).hexdigest() == sole.sha256
    front = yaml.safe_load(files["README.md"].decode().split("---\n")[1])
    assert (front["base_model"], front["base_model_relation"]) == ("ann/tiny", "adapter")
    assert (front["license"], front["instance_prompt"]) == ("openrail++", "paper")
    assert f'load_lora_weights("{REPO}"' in files["README.md"].decode()


def test_a_commit_message_tells_no_secret(papercut: Registry, target: WritableHub) -> None:
    papercut.edit("papercut", changes={"title": f"Trained with hf_{'S' * 34} in /home/ann/run"})
    push(papercut, "papercut", REPO, endpoint=target.url)
    assert target.messages[-1] == "commit papercut:1: Trained with [removed] in run"


def test_the_commit_is_recorded_in_the_history(papercut: Registry, target: WritableHub) -> None:
    pushed = push(papercut, "papercut", f"hf://{REPO}", endpoint=target.url)
    event = papercut.history("papercut")[-1]
    assert (event.action, event.subject) == ("pushed", "papercut:1")
    assert event.after is not None
    assert (event.after["repo"], event.after["commit"]) == (REPO, pushed.commit)
    assert event.after["files"].keys() == {"README.md", "papercut.safetensors", "provenance.json"}
    assert pushed.commit == target.reading.heads[REPO, "main"]


def test_pushing_again_sends_nothing_makes_no_commit_and_writes_no_event(
    papercut: Registry, target: WritableHub
) -> None:
    first = push(papercut, "papercut", REPO, endpoint=target.url)
    events, messages = papercut.history("papercut"), list(target.messages)
    again = push(papercut, "papercut", REPO, endpoint=target.url)
    assert (again.commit, again.changes, again.is_new) == (first.commit, False, False)
    assert set(again.unchanged) == {"README.md", "papercut.safetensors", "provenance.json"}
    assert target.messages == messages
    assert papercut.history("papercut") == events


def test_a_dry_run_says_what_would_be_sent_and_sends_nothing(papercut: Registry, target: WritableHub) -> None:
    planned = push(papercut, "papercut", REPO, endpoint=target.url, dry_run=True)
    assert (planned.is_new, planned.commit) == (True, None)
    assert set(planned.sent) == {"README.md", "papercut.safetensors", "provenance.json"}
    assert target.asked == []
    assert [event.action for event in papercut.history("papercut")].count("pushed") == 0


def test_only_what_changed_is_sent_and_what_is_no_longer_part_of_it_is_removed(
    papercut: Registry, target: WritableHub
) -> None:
    push(papercut, "papercut", REPO, endpoint=target.url)
    changed = push(papercut, "papercut", REPO, endpoint=target.url, layout="diffusers")
    assert changed.removed == ("papercut.safetensors",)
    assert set(target.files()) == {
        ".gitattributes",
        "README.md",
        "provenance.json",
        "pytorch_lora_weights.safetensors",
    }


def test_what_somebody_else_wrote_is_replaced_only_when_that_is_said(papercut: Registry, target: WritableHub) -> None:
    target.reading.push(REPO, {"README.md": b"mine", "notes.txt": b"also mine"})
    with pytest.raises(HubRefused, match=r"README\.md.*--replace"):
        push(papercut, "papercut", REPO, endpoint=target.url)
    assert target.files()["README.md"] == b"mine"
    push(papercut, "papercut", REPO, endpoint=target.url, replace=True)
    assert target.files()["README.md"] != b"mine"
    assert target.files()["notes.txt"] == b"also mine"


def test_an_edit_made_on_the_hub_since_the_last_push_is_not_lost(papercut: Registry, target: WritableHub) -> None:
    push(papercut, "papercut", REPO, endpoint=target.url)
    edited = target.files() | {"README.md": b"---\ntags: [x]\n---\nby hand"}
    target.reading.push(REPO, edited)
    with pytest.raises(HubRefused, match="edited since the last push"):
        push(papercut, "papercut", REPO, endpoint=target.url)
    assert target.files() == edited


def test_a_writer_who_was_faster_is_not_overwritten(papercut: Registry, target: WritableHub) -> None:
    push(papercut, "papercut", REPO, endpoint=target.url)
    target.before_commit = lambda: target.reading.push(REPO, target.files() | {"new.txt": b"new"})
    with pytest.raises(HubRefused, match="at the same time"):
        push(papercut, "papercut", REPO, endpoint=target.url, layout="diffusers")
    assert "papercut.safetensors" in target.files()


def test_bytes_that_did_not_arrive_whole_are_no_push(papercut: Registry, target: WritableHub) -> None:
    target.spoils = True
    with pytest.raises(HubRefused, match=r"other bytes.*README\.md"):
        push(papercut, "papercut", REPO, endpoint=target.url)
    assert papercut.last_push("papercut") is None


def test_a_draft_is_not_pushed(
    papercut: Registry, target: WritableHub, lora: Callable[..., bytes], tmp_path: Path
) -> None:
    (tmp_path / "draft.safetensors").write_bytes(lora(seed=4))
    import_file(papercut, tmp_path / "draft.safetensors", draft=True)
    with pytest.raises(NotPublished, match="tau publish draft:1"):
        push(papercut, "draft", REPO, endpoint=target.url)
    assert target.asked == []


def test_without_the_right_to_write_the_remedy_is_named(
    papercut: Registry, target: WritableHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_" + "b" * 34)
    with pytest.raises(HubRefused, match="hf auth login"):
        push(papercut, "papercut", REPO, endpoint=target.url)


def test_a_hub_that_does_not_answer_is_named(papercut: Registry, target: WritableHub) -> None:
    with pytest.raises(DownloadFailed, match="did not answer"):
        push(papercut, "papercut", REPO, endpoint="http://127.0.0.1:9")


@pytest.mark.parametrize("repo", ["papercut", "ann/papercut@main", "ann/papercut/x", "hf://../papercut", "ann/pa per"])
def test_a_text_that_is_no_repository_is_refused(papercut: Registry, repo: str) -> None:
    with pytest.raises(InvalidAddress):
        push(papercut, "papercut", repo)


def test_what_was_pushed_is_imported_as_the_same_version(
    papercut: Registry, target: WritableHub, write_base: Callable[..., Path], tmp_path: Path
) -> None:
    pushed = push(papercut, "papercut", REPO, endpoint=target.url)
    with Registry.open(tmp_path / "elsewhere") as other:
        other.add(write_base(tmp_path / "base"), kind="base", name="tiny")
        imported = import_hub(other, f"hf://{REPO}@{pushed.commit}", endpoint=target.reading.url)
        assert imported.digest == papercut.get("papercut").digest
        assert imported.trigger_words == ("paper",)


def test_a_vector_names_the_repository_that_its_base_was_pushed_to(papercut: Registry, target: WritableHub) -> None:
    push(papercut, "tiny", "ann/tiny-base", endpoint=target.url)
    push(papercut, "papercut", REPO, endpoint=target.url)
    front = yaml.safe_load(target.files()["README.md"].decode().split("---\n")[1])
    assert front["base_model"] == "ann/tiny-base"
