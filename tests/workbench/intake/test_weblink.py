"""Importing one file from a web address."""

import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from formats import FormatError
from registry import Registry
from workbench.errors import ChangedUpstream, ForbiddenAddress, InvalidAddress, NotImportable, TooLarge
from workbench.intake.addresses import Guard
from workbench.intake.download import Limits
from workbench.intake.weblink import configured_guard, configured_limits, import_url
from workbench.pace import Progress

Lora = Callable[..., bytes]


@pytest.fixture
def put(web: Any) -> Callable[..., str]:
    """put(path, body, **headers) puts a file on the test's server and gives its address."""
    page = type(web.answer("/nowhere"))

    def put(path: str, body: bytes, **options: Any) -> str:
        web.pages[path] = page(body, **options)
        return f"{web.url}{path}"

    return put


@pytest.fixture
def get(based: Registry, web: Any) -> Callable[..., Any]:
    """get(url, **words) imports it, the test's server trusted."""
    return lambda url, **words: import_url(based, url, guard=Guard(frozenset({web.host})), **words)


def left_over(registry: Registry) -> list[str]:
    """What lies in the staging folder."""
    return [path.name for path in registry.store.staging.folder.rglob("*")]


def test_a_file_becomes_a_version_that_knows_its_address_and_bytes(get: Any, put: Any, lora: Lora) -> None:
    content = lora(1)
    url = put("/dl/papercut%20v2.safetensors", content)
    version = get(url, license="mit")
    assert (version.ref, version.kind, version.license) == ("papercut-v2:1", "style", "mit")
    sha256 = hashlib.sha256(content).hexdigest()
    assert (version.origin.kind, version.origin.uri, version.origin.revision) == ("url", url, sha256)
    assert version.artifacts[0].sha256 == sha256


def test_an_address_that_grants_access_is_recorded_without_what_grants_it(get: Any, put: Any, lora: Lora) -> None:
    named = {"Content-Disposition": 'attachment; filename="ink.safetensors"'}
    url = put("/api/download/7", lora(1), headers=named)
    version = get(f"{url}?type=Model&token=secret")
    assert (version.model, version.origin.uri) == ("ink", f"{url}?type=Model")


def test_an_address_that_brings_other_bytes_is_refused_until_the_change_is_wanted(
    get: Any, put: Any, based: Registry, lora: Lora
) -> None:
    url = put("/ink.safetensors", lora(1))
    assert get(url).ref == get(url).ref == "ink:1"
    put("/ink.safetensors", lora(2))
    with pytest.raises(ChangedUpstream, match=r"ink:1 came from it.*--update"):
        get(url)
    assert left_over(based) == []
    assert get(url, update=True).ref == "ink:2"


def test_bytes_other_than_those_asked_for_are_refused(get: Any, put: Any, based: Registry, lora: Lora) -> None:
    url = put("/ink.safetensors", lora(1))
    with pytest.raises(ChangedUpstream, match=f"expected {'0' * 64}"):
        get(url, sha256="0" * 64)
    assert based.search(kind="style") == []
    assert get(url, sha256=hashlib.sha256(lora(1)).hexdigest().upper()).ref == "ink:1"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("x.zip", "archive"),
        ("x.tar.gz", "archive"),
        ("x.ckpt", "pickle"),
        ("x.pt", "pickle"),
        ("page", "expected NAME"),
    ],
)
def test_what_is_not_called_safetensors_is_refused_before_its_bytes_are_read(
    get: Any, put: Any, name: str, why: str
) -> None:
    with pytest.raises(NotImportable, match=why):
        get(put(f"/{name}", b"x" * 100, announces=False, sent=0))


@pytest.mark.parametrize("body", [b"PK\x03\x04" + bytes(60), b"\x80\x02}q\x00.", b"<html>log in</html>", b""])
def test_what_is_called_safetensors_and_is_something_else_is_refused_and_leaves_nothing(
    get: Any, put: Any, based: Registry, body: bytes
) -> None:
    with pytest.raises(FormatError):
        get(put("/x.safetensors", body))
    assert left_over(based) == []
    assert based.search(kind="style") == []


def test_a_file_over_the_cap_is_refused_and_leaves_nothing(get: Any, put: Any, based: Registry, lora: Lora) -> None:
    with pytest.raises(TooLarge):
        get(put("/x.safetensors", lora(1)), limits=Limits(max_bytes=100))
    assert left_over(based) == []


def test_without_trust_this_machine_is_out_of_reach(based: Registry, web: Any, put: Any, lora: Lora) -> None:
    with pytest.raises(ForbiddenAddress):
        import_url(based, put("/x.safetensors", lora(1)))
    assert web.asked == []


def test_the_settings_say_who_is_trusted_and_how_large_a_file_may_be(
    based: Registry, web: Any, put: Any, lora: Lora, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAU_URL_HOSTS", f"files.lan, {web.host}")
    monkeypatch.setenv("TAU_URL_MAX_BYTES", "1000000")
    assert configured_guard(based, "more.lan").trusted == {"files.lan", web.host, "more.lan"}
    assert configured_limits(based).max_bytes == 1_000_000
    assert import_url(based, put("/x.safetensors", lora(1))).ref == "x:1"
    monkeypatch.setenv("TAU_URL_MAX_BYTES", "100")
    with pytest.raises(TooLarge):
        import_url(based, put("/y.safetensors", lora(2)))


@pytest.mark.parametrize("url", ["file:///etc/passwd", "https://", "https://u:p@host/x", "javascript:alert(1)//://x"])
def test_what_is_no_web_address_is_refused(based: Registry, url: str) -> None:
    with pytest.raises(InvalidAddress):
        import_url(based, url)


def test_progress_is_told_up_to_the_whole(get: Any, put: Any, lora: Lora) -> None:
    told: list[Progress] = []
    get(put("/x.safetensors", lora(1)), tell=told.append)
    assert told[-1].done_bytes == told[-1].total_bytes == len(lora(1))
