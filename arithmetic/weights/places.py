"""Modules looked up in the headers of a base's files: which tensor, which of its rows, which way round."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from arithmetic.weights.naming import Address, Naming
from formats import Architecture, Header, Misfit, TensorSpec
from formats.norms import norm_widths


@dataclass(frozen=True, slots=True)
class Place:
    """Where a module's tensor lies. `rows` are (first, end) of those that are its own, None for all of them.

    `transposed`: the file holds (in, out) where the table says (out, in).
    """

    file: Path
    key: str
    rows: tuple[int, int] | None = None
    transposed: bool = False


class Part(NamedTuple):
    """A module within a tensor of a file: the inverse of Place."""

    module: str
    rows: tuple[int, int] | None
    transposed: bool


class Named(NamedTuple):
    """One tensor that a base may have: the module that it belongs to, `weight` or `bias`, and its shape."""

    stem: str
    end: str
    shape: tuple[int, ...]


def named_tensors(architecture: Architecture) -> dict[str, Named]:
    """Every weight of the table under its own name, then biases and normalisations under `<module>.bias` and the like.

    A bias is listed for every linear layer and convolution, whether or not a base has one.
    """
    found = {module: Named(module, "weight", spec.shape) for module, spec in architecture.modules.items()}
    for module, spec in architecture.modules.items():
        if spec.kind != "embedding":
            found[f"{module}.bias"] = Named(module, "bias", spec.shape[:1])
    for norm, width in norm_widths(architecture).items():
        found |= {f"{norm}.{end}": Named(norm, end, (width,)) for end in ("weight", "bias")}
    return found


@dataclass(frozen=True)
class Located:
    """What was found: a place for each module, and the modules whose tensors are of another size."""

    places: Mapping[str, Place]
    misfits: tuple[Misfit, ...]


def locate(
    headers: Mapping[str, Sequence[Header]], namings: Mapping[str, Sequence[Naming]], architecture: Architecture
) -> Located:
    """Look up every tensor of the table; both mappings are by component."""
    places: dict[str, Place] = {}
    misfits: list[Misfit] = []
    holders = {
        component: {key: header for header in own for key in header.tensors} for component, own in headers.items()
    }
    for module, named in named_tensors(architecture).items():
        component, _, name = named.stem.partition(".")
        keys = holders.get(component, {})
        for address in _addresses(namings.get(component, ()), name, named.end):
            if address.key in keys:
                header = keys[address.key]
                spec = header.tensors[address.key]
                place = _placed(header.path, address, spec, named.shape)
                if place is None:
                    misfits.append(Misfit(module, named.shape, spec.shape))
                else:
                    places[module] = place
                break
    return Located(places, tuple(misfits))


def _addresses(namings: Sequence[Naming], name: str, end: str) -> Iterator[Address]:
    for naming in namings:
        yield from naming(name, end)


def _placed(file: Path, address: Address, spec: TensorSpec, shape: tuple[int, ...]) -> Place | None:
    """The place of a tensor of `shape`; None where the stored one is of another size."""
    if address.third is None:
        stored = tuple(reversed(shape)) if address.transposed else shape
        return Place(file, address.key, None, address.transposed) if _is_same(spec.shape, stored) else None
    rows = shape[0]
    if not _is_same(spec.shape, (3 * rows, *shape[1:])):
        return None
    return Place(file, address.key, (address.third * rows, (address.third + 1) * rows))


def _is_same(stored: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether two weights have one shape; a linear layer may be stored as a 1x1 convolution, and the reverse."""
    return stored == wanted or (stored[:2] == wanted[:2] and {stored[2:], wanted[2:]} == {(), (1, 1)})
