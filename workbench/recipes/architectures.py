"""What references stand for, opened: the module tables of the shipped families and of the registered bases."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.errors import NotABase, NotAVector
from workbench.recipes.opened_vectors import opened_vector
from workbench.recipes.references import Resolved, weights_of

if TYPE_CHECKING:
    from arithmetic import Opened, Vector, Weights
    from formats import Architecture, Identification
    from registry import Registry, Version


class Architectures:
    """The module tables that a file is looked up in: the shipped ones and those of the registered bases."""

    def __init__(self, registry: "Registry | None", more: "tuple[Architecture, ...]" = ()) -> None:
        from formats import all_architectures

        self._registry = registry
        registered = registry.architectures() if registry else ()
        self._tables = {table.name: table for table in (*more, *all_architectures(registered))}

    def of(self, version: "Version") -> "Architecture | None":
        """The table that identification found for a version."""
        return self._tables.get(version.architecture) if version.architecture else None

    def open_all(self, found: Mapping[str, Resolved]) -> "dict[str, Opened]":
        """The vector or the base that each reference stands for; bases first, whose tables vectors are looked up in.

        Raises NotAVector, NotABase, or what formats refuses.
        """
        is_base = {reference: self.is_base(one) for reference, one in found.items()}
        ordered = sorted(found, key=lambda reference: not is_base[reference])
        opened = {one: self.open_checkpoint(found[one]) if is_base[one] else self.open(found[one]) for one in ordered}
        return {reference: opened[reference] for reference in found}

    def is_base(self, found: Resolved) -> bool:
        """Whether a reference stands for a base: a version of that kind, a pipeline, a checkpoint, an index of one."""
        if found.version is not None:
            return found.version.kind == "base"
        return _is_index(found.path) or self._identified(found).kind == "base"

    def open(self, found: Resolved) -> "Vector":
        """The vector that a reference stands for. Raises NotAVector, or what formats refuses about the file."""
        from arithmetic import open_vector

        table = self.of(found.version) if found.version else None
        if table is None:
            table = self._tables.get(self._identified(found).architecture or "")
        if table is None:
            raise NotAVector(
                f"{found.reference}: its modules are those of no known base ({', '.join(self._tables)}); "
                "import its base first: tau import FOLDER --kind base"
            )
        if found.version is not None and found.path.is_file():
            return opened_vector(found.path, table, name=found.version.ref, sha256=found.sha256)
        return open_vector(found.path, table, name=found.named)

    def open_base(self, version: "Version") -> "Weights":
        """The weights of a registered base. Raises NotABase for one of no known family."""
        table = self.of(version)
        if table is None or self._registry is None:
            raise NotABase(f"{version.ref}: has no module table; import it again: tau import FOLDER --kind base")
        from arithmetic import open_weights

        return open_weights(weights_of(self._registry, version), table, name=version.ref)

    def open_checkpoint(self, found: Resolved) -> "Weights":
        """The weights of a registered base, or at a path. Raises NotABase for anything that is no base."""
        if found.version is not None:
            return self.open_base(found.version)
        if _is_index(found.path):
            return self._open_shards(found)
        identified = self._identified(found)
        if identified.kind != "base":
            raise NotABase(
                f"{found.reference}: is no checkpoint but {identified.kind}: {identified.family.evidence[0]}"
            )
        return self._open_weights(found, identified)

    def _open_weights(self, found: Resolved, identified: "Identification") -> "Weights":
        from arithmetic import open_weights
        from formats import architecture_of_folder, is_base_folder

        table = self._tables.get(identified.architecture or "")
        if table is None and is_base_folder(found.path):
            table = architecture_of_folder(found.path, found.path.name)
            self._tables.setdefault(table.name, table)
        if table is None:
            raise NotABase(f"{found.reference}: a base of no known family; point at its diffusers folder")
        return open_weights(found.path, table, name=found.reference)

    def _open_shards(self, found: Resolved) -> "Weights":
        """What an index names, by the table that most of it belongs to."""
        from arithmetic import AlgebraError, open_weights

        fitting = []
        for table in self._tables.values():
            try:
                fitting.append(open_weights(found.path, table, name=found.reference))
            except AlgebraError:  # holds no module of this table
                continue
        if not fitting:
            raise NotABase(
                f"{found.reference}: its shards hold no module of {', '.join(self._tables)}; import its base"
            )
        return min(fitting, key=lambda weights: len(weights.missing) + len(weights.misfits))

    def _identified(self, found: Resolved) -> "Identification":
        from formats import identify

        return identify(found.path, architectures=tuple(self._tables.values()), hashes=False)


def _is_index(path: Path) -> bool:
    """Whether a path is the index of a checkpoint that is cut into shards."""
    return path.suffix == ".json" and ".index" in path.name
