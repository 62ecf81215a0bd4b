"""Which network addresses an import may connect to: public ones, and the hosts that the settings name.

A name is resolved once, every address that it has is judged, and the connection goes to a judged address, so that a
name cannot change its meaning between the check and the connection.
"""

import ipaddress
import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit

from workbench.errors import ForbiddenAddress, InvalidAddress

Resolver = Callable[[str, int], Sequence[str]]
"""The addresses of a host: resolve(host, port)."""

PORTS = {"http": 80, "https": 443}

NOT_PUBLIC = tuple(map(ipaddress.ip_network, ("168.63.129.16/32", "192.0.0.0/24", "fec0::/10", "64:ff9b:1::/48")))
"""What `is_global` lets pass on some versions of Python: metadata services of clouds, and ranges that stay local."""

CARRIES_IPV4 = tuple(map(ipaddress.ip_network, ("64:ff9b::/96", "::/96", "::ffff:0:0:0/96")))
"""IPv6 addresses whose last 32 bits are the IPv4 address that they lead to: NAT64, the old compatible form, and SIIT's
translated one."""

GLOBAL_IPV6 = ipaddress.ip_network("2000::/3")
"""The only IPv6 addresses that are given to anybody on the public network."""

SECRET = re.compile(
    r"token|secret|passw|credential|(^|[_-])auth(orization)?($|[_-])|key$|(^|[_-])sig(nature)?$|^x-(amz|goog|ms)-",
    re.IGNORECASE,
)
"""Names of query parameters that grant access."""

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


def resolve_host(host: str, port: int) -> tuple[str, ...]:
    """The addresses of `host` as the system knows them, each once. Raises OSError for an unknown host."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(address[0]) for *_, address in found))


@dataclass(frozen=True)
class Guard:
    """Judges addresses; `trusted` are hosts, as `name` or `name:port`, that may lie in a private network."""

    trusted: frozenset[str] = frozenset()
    resolve: Resolver = field(default=resolve_host)

    def addresses(self, url: str) -> tuple[str, ...]:
        """The addresses that a connection for `url` may use. Raises InvalidAddress and ForbiddenAddress."""
        parts = split_url(url)
        host, port = str(parts.hostname), port_of(parts)
        url = shown(url)
        try:
            found = tuple(self.resolve(host, port))
        except (OSError, UnicodeError) as error:
            raise ForbiddenAddress(f"{url}: {host} has no address ({error}); check the spelling of the host") from error
        if not found:
            raise ForbiddenAddress(f"{url}: {host} has no address; check the spelling of the host")
        if not {host.lower(), f"{host.lower()}:{port}"} & self.trusted:
            for address in found:
                _require_public(url, host, address)
        return found


def split_url(url: str) -> SplitResult:
    """The parts of an http or https address. Raises InvalidAddress for any other text."""
    if any(ord(character) <= 32 or ord(character) == 127 for character in url) or "\\" in url:
        raise InvalidAddress(f"address {url!r}: a space, control character or backslash; percent-encode it")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidAddress(f"address {url!r}: {error}; expected https://HOST/PATH") from error
    if parts.scheme not in PORTS or not parts.hostname or port == 0:
        raise InvalidAddress(f"address {url!r}: expected https://HOST/PATH")
    if parts.username is not None or parts.password is not None:
        raise InvalidAddress(
            f"address of {parts.hostname}: carries a user name or password; leave it out of the address"
        )
    return parts


def shown(url: str) -> str:
    """`url` as it may be shown and recorded: without the parameters that grant access, and without its fragment."""
    parts = urlsplit(url)
    kept = [(key, value) for key, value in parse_qsl(parts.query, keep_blank_values=True) if not SECRET.search(key)]
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, urlencode(kept), ""))


def port_of(parts: SplitResult) -> int:
    """The port of a checked address, its scheme's own where none is written."""
    return parts.port or PORTS[parts.scheme]


def is_public(address: str) -> bool:
    """Whether an IP address is reachable by everybody, those wrapped inside IPv6 forms included."""
    return all(_is_public(inner) for inner in _unwrapped(ipaddress.ip_address(address.partition("%")[0])))


def _is_public(address: IPAddress) -> bool:
    if address.version == 6 and address not in GLOBAL_IPV6:
        return False
    return address.is_global and not address.is_multicast and not any(address in block for block in NOT_PUBLIC)


def _unwrapped(address: IPAddress) -> tuple[IPAddress, ...]:
    """The address itself, or the IPv4 addresses that an IPv6 form of it leads to."""
    if isinstance(address, ipaddress.IPv4Address):
        return (address,)
    if address.ipv4_mapped is not None:
        return (address.ipv4_mapped,)
    if address.sixtofour is not None:
        return (address, address.sixtofour)
    if address.teredo is not None:
        return (address, *address.teredo)
    if any(address in block for block in CARRIES_IPV4):
        return (ipaddress.IPv4Address(int(address) & 0xFFFFFFFF),)
    return (address,)


def _require_public(url: str, host: str, address: str) -> None:
    if not is_public(address):
        raise ForbiddenAddress(
            f"{url}: {host} is {address}, no public address; to allow a host of your own network, "
            f"name it in TAU_URL_HOSTS: {host}"
        )
