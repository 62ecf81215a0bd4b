"""The modules of a base model and their weight shapes: what an adapter's keys are looked up in."""

import gzip
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal, cast, get_args

from formats.errors import UnknownArchitecture

ModuleKind = Literal["linear", "conv", "embedding", "channel"]
"""What a module is; a `channel` is a bias or half of a normalisation, which tables leave out (see norms.spec_of)."""

TABLE_KINDS = frozenset(get_args(ModuleKind)) - {"channel"}

COMPONENTS = ("unet", "text_encoder", "text_encoder_2")
"""The parts of a pipeline that adapters reach, in the order in which names without a part are tried."""

SHIPPED = ("sd15", "sd21", "sdxl", "ssd1b", "sdxl-refiner", "vega")


@dataclass(frozen=True, slots=True)
class ModuleSpec:
    """One module. `shape` is its weight's: (out, in) linear, (out, in, k, k) conv, (count, width) embedding,
    (out,) channel."""

    kind: ModuleKind
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Architecture:
    """A named module table. Names carry their component: `unet.conv_in`, `text_encoder.text_model.encoder...`."""

    name: str
    modules: Mapping[str, ModuleSpec]

    def __hash__(self) -> int:
        return hash((self.name, len(self.modules)))

    @property
    def components(self) -> tuple[str, ...]:
        """The components that have modules here, in the order of COMPONENTS."""
        present = {component_of(module) for module in self.modules}
        return tuple(component for component in COMPONENTS if component in present)

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `from_json` reads back."""
        return {
            "name": self.name,
            "modules": {name: [s.kind, list(s.shape)] for name, s in sorted(self.modules.items())},
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Architecture":
        """The architecture that `to_json` wrote. Raises UnknownArchitecture for anything else."""
        try:
            modules = {str(name): _module(kind, shape) for name, (kind, shape) in document["modules"].items()}
            return cls(str(document["name"]), modules)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UnknownArchitecture(f"not an architecture table: {error!r}. Import its base again.") from error


def component_of(module: str) -> str:
    """The component that a module name begins with."""
    return module.partition(".")[0]


def known_architectures() -> tuple[str, ...]:
    """The names of the shipped tables."""
    return SHIPPED


def all_architectures(registered: Iterable[Architecture] = ()) -> tuple[Architecture, ...]:
    """What a file is compared with: the shipped tables, then those of the bases that a registry holds."""
    return (*map(architecture, SHIPPED), *registered)


@cache
def architecture(name: str) -> Architecture:
    """The shipped table `name`. Raises UnknownArchitecture for any other name."""
    if name not in SHIPPED:
        raise UnknownArchitecture(
            f"{name!r}: no shipped architecture of that name, expected one of {', '.join(SHIPPED)}. "
            "Import the base to have a table made from its folder."
        )
    packed = resources.files("formats").joinpath("tables", f"{name}.json.gz").read_bytes()
    return Architecture.from_json(json.loads(gzip.decompress(packed)))


def _module(kind: str, shape: list[int]) -> ModuleSpec:
    if kind not in TABLE_KINDS or not all(type(size) is int and size > 0 for size in shape):
        raise ValueError(f"module of kind {kind!r} and shape {shape!r}")
    return ModuleSpec(cast(ModuleKind, kind), tuple(shape))
