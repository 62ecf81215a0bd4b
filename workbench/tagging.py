"""Tags on many versions at once: all of them get it, or none."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from workbench.errors import InvalidSettings

if TYPE_CHECKING:
    from registry import Registry, Version


def put_tag(registry: "Registry", refs: Iterable[str], said: str, *, where: str | None = None) -> "list[Version]":
    """Put a tag, `KEY` or `KEY=VALUE`, on versions and on all that the query `where` finds; 10,000 at most.

    Raises InvalidSettings for no tag, and what `Registry.edit` raises.
    """
    key, value = _parted(said)
    return registry.edit(*refs, changes={"tags": {key: value}}, where=where)


def take_tag(registry: "Registry", refs: Iterable[str], said: str, *, where: str | None = None) -> "list[Version]":
    """Take the tag `KEY` off versions and off all that the query `where` finds; its value does not matter."""
    key, _ = _parted(said)
    return registry.edit(*refs, changes={"tags": {key: None}}, where=where)


def _parted(said: str) -> tuple[str, str]:
    key, _, value = said.partition("=")
    if not key.strip():
        raise InvalidSettings("a tag without a name; say KEY, such as approved, or KEY=VALUE, such as approved=yes")
    return key.strip(), value.strip()
