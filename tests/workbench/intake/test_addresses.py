"""Which addresses a fetch may connect to."""

from collections.abc import Sequence

import pytest

from workbench.errors import ForbiddenAddress, InvalidAddress
from workbench.intake.addresses import Guard, is_public, shown, split_url

NOT_PUBLIC = (
    "127.0.0.1",
    "127.9.9.9",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "100.100.100.200",  # a cloud's metadata
    "168.63.129.16",  # a cloud's metadata
    "169.254.169.254",  # most clouds' metadata
    "192.0.0.192",  # a cloud's metadata
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",  # 127.0.0.1 in the old compatible form
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:7f00:1",  # 127.0.0.1 as SIIT translates it
    "5f00::1",  # segment routing: no unicast address of the public network
    "4000::1",
    "64:ff9b::7f00:1",  # 127.0.0.1 behind NAT64
    "64:ff9b:1::1",
    "2002:7f00:1::",  # 127.0.0.1 behind 6to4
    "2001:0:7f00:1::",  # 127.0.0.1 as a Teredo server
    "fc00::1",
    "fd00:ec2::254",  # a cloud's metadata
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_no_private_link_local_or_metadata_address_is_public_in_any_form(address: str) -> None:
    assert not is_public(address)


PUBLIC = ("8.8.8.8", "185.199.108.153", "2606:4700::1111", "::ffff:8.8.8.8", "::ffff:0:808:808", "64:ff9b::808:808")


@pytest.mark.parametrize("address", PUBLIC)
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost/x",
        "http://127.0.0.1:8080/x",
        "http://127.1/x",
        "http://2130706433/x",
        "http://0x7f000001/x",
        "http://0177.0.0.1/x",
        "http://[::1]/x",
        "http://[::ffff:127.0.0.1]/x",
        "http://0/x",
        "https://169.254.169.254/latest/meta-data",
    ],
)
def test_every_spelling_of_this_machine_is_refused_after_it_is_resolved(url: str) -> None:
    with pytest.raises(ForbiddenAddress, match=r"no public address|has no address"):
        Guard().addresses(url)


def test_one_private_address_among_public_ones_is_enough_to_refuse() -> None:
    guard = Guard(resolve=lambda host, port: ("8.8.8.8", "10.0.0.1"))
    with pytest.raises(ForbiddenAddress, match=r"models\.example is 10\.0\.0\.1"):
        guard.addresses("https://models.example/x")


def test_a_trusted_host_may_be_private_and_a_trusted_port_is_one_port() -> None:
    def resolve(host: str, port: int) -> Sequence[str]:
        return ("10.0.0.1",)

    assert Guard(frozenset({"files.lan"}), resolve).addresses("http://FILES.lan/x") == ("10.0.0.1",)
    one_port = Guard(frozenset({"files.lan:8080"}), resolve)
    assert one_port.addresses("http://files.lan:8080/x") == ("10.0.0.1",)
    with pytest.raises(ForbiddenAddress, match="TAU_URL_HOSTS"):
        one_port.addresses("http://files.lan/x")


def test_a_host_without_an_address_is_named() -> None:
    def resolve(host: str, port: int) -> Sequence[str]:
        raise OSError("no such host")

    with pytest.raises(ForbiddenAddress, match=r"nowhere\.example has no address \(no such host\)"):
        Guard(resolve=resolve).addresses("https://nowhere.example/x")


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://host/x",
        "gopher://host/x",
        "data:text/plain,x",
        "//host/x",
        "https:///x",
        "https://",
        "",
        "https://host:0/x",
        "https://host:99999/x",
        "https://host:x/y",
        "https://[::1/x",
        "https://ho st/x",
        "https://host/a\nb",
        "https://host/a\0b",
        "https://host\\@evil/x",
        "https://user@host/x",
        "https://user:secret@host/x",
    ],
)
def test_what_is_no_plain_web_address_is_refused_before_anything_is_asked(url: str) -> None:
    with pytest.raises(InvalidAddress) as refused:
        split_url(url)
    assert "secret" not in str(refused.value)


def test_what_grants_access_is_not_shown() -> None:
    url = "https://host/x?type=Model&token=abc&X-Amz-Signature=s&api_key=k&sig=1&author=me#frag"
    assert shown(url) == "https://host/x?type=Model&author=me"
