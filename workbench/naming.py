"""The names that results get."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from registry import Registry


def require_free(registry: "Registry", name: str, kind: str) -> None:
    """Refuse a name that is none (InvalidName), or that a model of another kind has (Conflict), before any work."""
    from registry import Conflict, NotFound
    from registry.names import require_slug

    require_slug(name)
    try:
        model = registry.get(name)
    except NotFound:
        return
    if model.kind != kind:
        raise Conflict(f"{name!r} is of kind {model.kind}, this makes a version of kind {kind}; choose another --name")
