"""Fetching one file: guarded at every step, capped, whole or not at all."""

import hashlib
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from workbench.errors import (
    DownloadCancelled,
    DownloadFailed,
    ForbiddenAddress,
    NotThere,
    TooLarge,
    WorkbenchError,
)
from workbench.intake.addresses import Guard
from workbench.intake.download import Limits, fetch, fetch_document

LIMITS = Limits(max_bytes=10_000, stall_seconds=5)


@pytest.fixture
def guard(web: Any) -> Guard:
    """Trusts the test server and nothing else of this machine."""
    return Guard(frozenset({web.host}))


@pytest.fixture
def page(web: Any) -> Any:
    """page(path, body=b"", **options) puts a page there and gives its address."""

    def put(path: str, body: bytes = b"", **options: Any) -> str:
        web.pages[path] = type_of_page(web)(body, **options)
        return f"{web.url}{path}"

    return put


def type_of_page(web: Any) -> Any:
    """The class of the server's answers."""
    return type(web.answer("/nowhere"))


def test_a_file_arrives_whole_with_its_digest_and_the_name_that_its_server_gives_it(
    page: Any, guard: Guard, tmp_path: Path
) -> None:
    body = bytes(range(256)) * 30
    url = page("/files/a%20b.safetensors", body)
    got = fetch(url, tmp_path, guard, LIMITS)
    assert (got.path.read_bytes(), got.size, got.name) == (body, len(body), "a b.safetensors")
    assert got.sha256 == hashlib.sha256(body).hexdigest()


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ('attachment; filename="paper.safetensors"', "paper.safetensors"),
        ("attachment; filename*=UTF-8''papier%20d%C3%A9coup%C3%A9.safetensors", "papier découpé.safetensors"),
        ('attachment; filename="../../etc/passwd"', "passwd"),
        ('attachment; filename="..\\\\..\\\\x.safetensors"', "x.safetensors"),
    ],
)
def test_the_name_that_a_server_gives_is_a_name_and_never_a_path(
    page: Any, guard: Guard, tmp_path: Path, said: str, name: str
) -> None:
    got = fetch(page("/x", b"x", headers={"Content-Disposition": said}), tmp_path, guard, LIMITS)
    assert got.name == name
    assert got.path.parent == tmp_path


def test_redirects_are_followed_to_the_end(page: Any, guard: Guard, tmp_path: Path) -> None:
    page("/end.bin", b"there")
    page("/second", status=302, headers={"Location": "/end.bin"})
    assert fetch(page("/first", status=307, headers={"Location": "second"}), tmp_path, guard, LIMITS).name == "end.bin"


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://localhost:1/x",
        "http://127.0.0.1:1/x",
        "http://[::1]:1/x",
        "http://10.0.0.1/x",
        "//169.254.169.254/x",
    ],
)
def test_a_redirect_into_a_private_network_is_refused(page: Any, guard: Guard, tmp_path: Path, target: str) -> None:
    with pytest.raises(ForbiddenAddress):
        fetch(page("/x", status=302, headers={"Location": target}), tmp_path, guard, LIMITS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "target",
    [
        *("file:///etc/passwd", "ftp://host/x", "http://user:pw@host/x"),
        *("http://[bad/x", "http://host:port/x", "//[", "https://h:0/x"),
    ],
)
def test_a_redirect_to_what_is_no_public_address_of_the_web_is_a_failed_download(
    page: Any, guard: Guard, tmp_path: Path, target: str
) -> None:
    with pytest.raises(DownloadFailed, match="redirects to no address"):
        fetch(page("/x", status=301, headers={"Location": target}), tmp_path, guard, LIMITS)


def test_redirects_in_a_circle_end(page: Any, web: Any, guard: Guard, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match="redirected more than 5 times"):
        fetch(page("/x", status=302, headers={"Location": "/x"}), tmp_path, guard, LIMITS)
    assert len(web.asked) == 6


def test_a_name_is_resolved_once_and_the_judged_address_is_the_one_that_is_connected_to(
    page: Any, web: Any, tmp_path: Path
) -> None:
    asked: list[str] = []

    def resolve(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ("127.0.0.1",) if len(asked) == 1 else ("203.0.113.1",)

    port = web.host.partition(":")[2]
    page("/x", b"here")
    got = fetch(f"http://models.example:{port}/x", tmp_path, Guard(frozenset({"models.example"}), resolve), LIMITS)
    assert (got.path.read_bytes(), asked) == (b"here", ["models.example"])


def test_each_redirect_is_resolved_and_judged_again(page: Any, web: Any, tmp_path: Path) -> None:
    port = web.host.partition(":")[2]
    addresses = {"good.example": ("127.0.0.1",), "evil.example": ("127.0.0.1",)}
    guard = Guard(frozenset({"good.example"}), lambda host, _: addresses[host])
    page("/x", status=302, headers={"Location": f"http://evil.example:{port}/secret"})
    with pytest.raises(ForbiddenAddress, match=r"evil\.example is 127\.0\.0\.1"):
        fetch(f"http://good.example:{port}/x", tmp_path, guard, LIMITS)
    assert web.asked == ["GET /x"]


@pytest.mark.parametrize("announces", [True, False])
def test_more_bytes_than_the_cap_are_refused_announced_or_not(
    page: Any, guard: Guard, tmp_path: Path, announces: bool
) -> None:
    with pytest.raises(TooLarge, match=r"10,000.*TAU_URL_MAX_BYTES"):
        fetch(page("/x", bytes(10_001), announces=announces), tmp_path, guard, LIMITS)
    assert list(tmp_path.iterdir()) == []
    assert fetch(page("/y", bytes(10_000), announces=announces), tmp_path, guard, LIMITS).size == 10_000


def test_a_download_that_breaks_off_is_no_file(page: Any, guard: Guard, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match="broke off after 700 of 5,000 bytes"):
        fetch(page("/x", bytes(5_000), sent=700), tmp_path, guard, LIMITS)
    assert list(tmp_path.iterdir()) == []


def test_a_cancelled_download_leaves_nothing(page: Any, guard: Guard, tmp_path: Path) -> None:
    with pytest.raises(DownloadCancelled):
        fetch(page("/x", bytes(5_000)), tmp_path, guard, LIMITS, cancelled=lambda: True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("status", "error"), [(404, NotThere), (410, NotThere), (403, DownloadFailed), (500, DownloadFailed)]
)
def test_an_answer_other_than_the_file_says_which(
    page: Any, guard: Guard, tmp_path: Path, status: int, error: type[WorkbenchError]
) -> None:
    with pytest.raises(error, match=str(status)):
        fetch(page("/x", b"sorry", status=status), tmp_path, guard, LIMITS)


def test_an_encoded_answer_that_could_unfold_to_anything_is_refused(page: Any, guard: Guard, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match="encoding gzip"):
        fetch(page("/x", b"\x1f\x8b", headers={"Content-Encoding": "gzip"}), tmp_path, guard, LIMITS)


def test_secrets_of_an_address_stay_out_of_messages(page: Any, guard: Guard, tmp_path: Path) -> None:
    url = page("/x", status=500) + "?token=hf_secret"
    with pytest.raises(DownloadFailed) as failed:
        fetch(url, tmp_path, guard, LIMITS)
    assert "hf_secret" not in str(failed.value)


def test_nobody_listening_is_a_failure_with_the_address(guard: Guard, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match=r"127\.0\.0\.1"):
        fetch("http://127.0.0.1:9/x", tmp_path, Guard(frozenset({"127.0.0.1"})), LIMITS)


def test_progress_is_told_up_to_the_whole(page: Any, guard: Guard, tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    fetch(page("/x", bytes(5_000)), tmp_path, guard, LIMITS, received=lambda done, total: told.append((done, total)))
    assert told[-1] == (5_000, 5_000)


@pytest.mark.parametrize(
    "body", [b"<html>", b"[1]", b'{"a": NaN}', b"[" * 100_000, b'{"a":' * 70 + b"1" + b"}" * 70, b"\xff"]
)
def test_an_answer_that_is_no_plain_json_object_is_a_failure(page: Any, guard: Guard, body: bytes) -> None:
    with pytest.raises(DownloadFailed, match="the answer"):
        fetch_document(page("/x", body), guard, Limits(1_000_000, 5))


@pytest.fixture
def secure(web: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The test server behind TLS, with a certificate for models.example that this process trusts; its port."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=test")
    names = ("-addext", "subjectAltName=DNS:models.example", "-keyout", str(key), "-out", str(certificate))
    subprocess.run(["openssl", "req", "-x509", *made, *names], check=True, capture_output=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    web.secure(certificate, key)
    return str(web.host.partition(":")[2])


def test_the_judged_address_is_connected_to_under_the_certificate_of_the_name(
    page: Any, secure: str, tmp_path: Path
) -> None:
    page("/x", b"sealed")
    guard = Guard(frozenset({"models.example", "other.example"}), lambda host, port: ("127.0.0.1",))
    (tmp_path / "in").mkdir()
    assert fetch(f"https://models.example:{secure}/x", tmp_path / "in", guard, LIMITS).path.read_bytes() == b"sealed"
    with pytest.raises(DownloadFailed, match=r"no secure connection.*other\.example"):
        fetch(f"https://other.example:{secure}/x", tmp_path / "in", guard, LIMITS)


def test_a_redirect_from_https_to_http_is_refused(page: Any, secure: str, tmp_path: Path) -> None:
    guard = Guard(frozenset({"models.example"}), lambda host, port: ("127.0.0.1",))
    page("/x", status=302, headers={"Location": f"http://models.example:{secure}/x"})
    with pytest.raises(DownloadFailed, match="redirects from https to http"):
        fetch(f"https://models.example:{secure}/x", tmp_path, guard, LIMITS)
