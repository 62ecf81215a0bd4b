"""Addresses and paths, and what of them may be told: a public host and its path, of a machine's own the last name."""

import re
from collections.abc import Callable
from urllib.parse import unquote

from formats.secrets import REMOVED, SECRET_PARAMETER, TOKENS

ADDRESS = re.compile(r"(?i)(?<![a-z0-9+.-])[a-z][a-z0-9+.-]{1,20}://[^\s\"'<>|\\^`{}]+")

LOCAL_HOST = re.compile(
    r"(?i)(?:localhost|.*\.(?:local|internal|lan|home|corp|intranet)|127\..*|10\..*|192\.168\..*"
    r"|172\.(?:1[6-9]|2\d|3[01])\..*|169\.254\..*|100\.(?:6[4-9]|[7-9]\d|1[01]\d|12[0-7])\..*|0\.0\.0\.0|\[.*\])(?::\d+)?"
)
"""Hosts that mean something on one machine or one network only."""

SHORT_HOST = re.compile(r"(?i)[\w-]+(?::\d+)?")
"""A host without a domain, in addresses whose first part is a host."""

FILE_SCHEMES = frozenset({"afp", "file", "nfs", "scp", "sftp", "smb", "ssh"})
HOST_SCHEMES = frozenset({"ftp", "ftps", "grpc", "http", "https", "tcp", "ws", "wss"})

HOMES = frozenset({"documents and settings", "home", "homes", "users"})
"""Folders whose folders are called like people."""


def last_name(path: str) -> str:
    """The last name of a machine's path; REMOVED where that would tell a user, a drive or a server."""
    is_shared = path.startswith(("\\\\", "//"))
    names = [name for name in re.split(r"[\\/]+", path) if name not in ("", "?", ".")]
    if is_shared and names[:1] == ["UNC"]:
        del names[0]
    if not names or names[-1] == "root" or names[-1].startswith("~") or re.fullmatch(r"[A-Za-z]:", names[-1]):
        return REMOVED
    is_server = is_shared and len(names) <= 2 and not re.fullmatch(r"[A-Za-z]:", names[0])
    if is_server or (len(names) > 1 and names[-2].lower() in HOMES):
        return REMOVED
    return names[-1]


def scrub_address(address: str, scrub: Callable[[str], str]) -> str:
    """An address without user, password and secret parameters, its other parameters scrubbed by `scrub`.

    Of a file's address and of one whose host is a machine, the last name alone.
    """
    scheme, _, rest = address.partition("://")
    authority, tail = _cut(rest, r"[/?#]")
    host = authority.rpartition("@")[2]
    path, query = _cut(tail, r"[?#]")
    is_short = scheme.lower() in HOST_SCHEMES and SHORT_HOST.fullmatch(host)
    if scheme.lower() in FILE_SCHEMES or is_short or LOCAL_HOST.fullmatch(host):
        name = path.strip("/")
        return TOKENS.sub(REMOVED, last_name(f"/{unquote(name)}")) if name else REMOVED
    parts = re.split(r"([&;#?])", query)
    place, equals, served = TOKENS.sub(REMOVED, path).partition("=")
    asked = "".join(_parameter(part, scrub) for part in parts)
    return f"{scheme}://{host}{place}{equals}{scrub(served)}{asked}"


def _cut(text: str, before: str) -> tuple[str, str]:
    """`text` up to the first match of `before`, and the rest."""
    found = re.search(before, text)
    return (text, "") if found is None else (text[: found.start()], text[found.start() :])


def _parameter(part: str, scrub: Callable[[str], str]) -> str:
    name, equals, value = part.partition("=")
    if value.startswith(REMOVED):
        return part
    if equals and value and SECRET_PARAMETER.fullmatch(unquote(name)):
        return f"{name}={REMOVED}"
    plain = unquote(value if equals else part)
    scrubbed = scrub(plain)
    if scrubbed == plain:
        return part
    return f"{name}={scrubbed}" if equals else scrubbed
