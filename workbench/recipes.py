"""From the text of a recipe to its base, its opened vectors and its locked form."""

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from workbench.errors import BaseUndecided, NotABase, NotAVector, UnknownInRecipe, UnsupportedRecipe
from workbench.references import Resolved, resolve

if TYPE_CHECKING:
    from arithmetic import Combination, Recipe, Vector
    from formats import Architecture
    from registry import Registry, Version


class WeightedVector(NamedTuple):
    """One term of a recipe: lambda, the opened vector, and its version (None for a path)."""

    weight: float
    vector: "Vector"
    version: "Version | None"


@dataclass(frozen=True)
class ResolvedRecipe:
    """A recipe whose every reference was found."""

    text: str
    """As typed."""
    recipe: "Recipe"
    locked: "Recipe"
    """The same with sha256:... for every name."""
    base: "Version | None"
    candidates: "tuple[Version, ...]"
    """Where no base was named: the registered ones of the vectors' family."""
    architecture: "Architecture | None"
    """The base's module table."""
    vectors: tuple[WeightedVector, ...]
    inputs: tuple[Resolved, ...]
    """What each reference stands for, each once, in the order of the recipe."""

    @property
    def required_base(self) -> "Version":
        """The base. Raises BaseUndecided when none is named and not exactly one fits."""
        if self.base is None:
            families = dict.fromkeys(vector.architecture.name for _, vector, _ in self.vectors)
            raise BaseUndecided(" or ".join(families), [base.ref for base in self.candidates])
        return self.base

    @property
    def combination(self) -> "Combination":
        """The sum of the vectors, the base left out. Raises UnsupportedRecipe when there is no vector."""
        from arithmetic import Combination

        if not self.vectors:
            raise UnsupportedRecipe(f"{self.text}: names no vector; add one, such as {self.text} + 0.8*papercut")
        return Combination(tuple((weight, vector) for weight, vector, _ in self.vectors))

    @property
    def sole_version(self) -> "Version | None":
        """The version that the recipe is, as it stands: one vector at strength 1, or a base without vectors."""
        if not self.vectors:
            return self.base
        weight, _, version = self.vectors[0]
        return version if len(self.vectors) == 1 and weight == 1 else None

    @property
    def strengths(self) -> dict[str, float]:
        """Vector name -> lambda; of a vector that stands twice, the sum as decimals (0.1 + 0.2 = 0.3)."""
        sums: dict[str, Decimal] = {}
        for weight, vector, _ in self.vectors:
            sums[vector.name] = sums.get(vector.name, Decimal(0)) + Decimal(repr(weight))
        return {name: float(total) for name, total in sums.items()}


def resolve_recipe(registry: "Registry", text: str, base: str | None = None) -> ResolvedRecipe:
    """Find everything that a recipe names.

    The base is the one in the recipe, else `base`, else the only registered one of the vectors' family, else None.

    Raises:
        RecipeSyntaxError: with a caret.
        UnknownInRecipe: a reference that nothing answers to; with a caret and the nearest names.
        UnsupportedRecipe: two bases, or one that is scaled.
    """
    from arithmetic import parse

    recipe = parse(text)
    found = {term.reference: _found(registry, text, term.reference) for term in recipe.terms}
    bases = [(term.weight, found[term.reference]) for term in recipe.terms if _is_base(found[term.reference])]
    known = Architectures(registry)
    vectors = tuple(
        WeightedVector(term.weight, known.open(found[term.reference]), found[term.reference].version)
        for term in recipe.terms
        if not _is_base(found[term.reference])
    )
    named = _named_base(registry, text, bases, base)
    candidates = () if named else _bases_of(registry, vectors)
    chosen = named or (candidates[0] if len(candidates) == 1 else None)
    return ResolvedRecipe(
        text=text,
        recipe=recipe,
        locked=recipe.lock(lambda name: found[name].locked),
        base=chosen,
        candidates=candidates,
        architecture=known.of(chosen) if chosen else None,
        vectors=vectors,
        inputs=tuple(found.values()),
    )


def with_dtype(text: str, dtype: str | None) -> str:
    """The recipe with `| dtype(...)` written into it. Raises UnsupportedRecipe when it asks for another one."""
    from arithmetic import parse

    if dtype is None:
        return text
    recipe = parse(text)
    if any(stage.name == "dtype" for stage in recipe.stages):
        if recipe.dtype != dtype:
            raise UnsupportedRecipe(f"{text}: asks for {recipe.dtype}, --dtype for {dtype}; keep one of them")
        return text
    return f"{text} | dtype({dtype})"


class Architectures:
    """The module tables that a vector is looked up in: the shipped ones and those of the registered bases."""

    def __init__(self, registry: "Registry") -> None:
        from formats import all_architectures

        self._tables = {table.name: table for table in all_architectures(registry.architectures())}

    def of(self, version: "Version") -> "Architecture | None":
        """The table that identification found for a version."""
        return self._tables.get(version.architecture) if version.architecture else None

    def open(self, found: Resolved) -> "Vector":
        """The vector that a reference stands for. Raises NotAVector, or what formats refuses about the file."""
        from arithmetic import open_vector

        table = (self.of(found.version) if found.version else None) or self._identified(found)
        if table is None:
            raise NotAVector(
                f"{found.reference}: its modules are those of no known base ({', '.join(self._tables)}); "
                "import its base first: tau import FOLDER --kind base"
            )
        return open_vector(found.path, table, name=found.version.ref if found.version else found.reference)

    def _identified(self, found: Resolved) -> "Architecture | None":
        from formats import identify

        name = identify(found.path, architectures=tuple(self._tables.values())).architecture
        return self._tables.get(name) if name else None


def _found(registry: "Registry", text: str, reference: str) -> Resolved:
    from registry import NotFound

    try:
        return resolve(registry, reference)
    except NotFound as error:
        raise UnknownInRecipe(text, reference, str(error)) from error


def _is_base(found: Resolved) -> bool:
    from formats import is_base_folder

    if found.version is None and is_base_folder(found.path):
        raise NotABase(
            f"{found.reference}: a base must be registered; import it first: tau import {found.path} --kind base"
        )
    return found.version is not None and found.version.kind == "base"


def _named_base(
    registry: "Registry", text: str, bases: list[tuple[float, Resolved]], option: str | None
) -> "Version | None":
    """The base that the recipe or the option names."""
    named = registry.get(option) if option else None
    if named and named.kind != "base":
        raise NotABase(f"--base {option}: {named.ref} is of kind {named.kind}; name a base: tau ls --kind base")
    if not bases:
        return named
    if len(bases) > 1 or bases[0][0] != 1:
        sums = " + ".join(f"{weight:g}*{found.reference}" for weight, found in bases)
        raise UnsupportedRecipe(f"{text}: a recipe here takes one base with the weight 1, got {sums}")
    version = bases[0][1].version
    if named and version and named.id != version.id:
        raise UnsupportedRecipe(f"{text}: names the base {version.ref}, --base names {named.ref}; keep one of them")
    return version


def _bases_of(registry: "Registry", vectors: tuple[WeightedVector, ...]) -> "tuple[Version, ...]":
    """The registered bases of the vectors' families."""
    families = dict.fromkeys(vector.architecture.name for _, vector, _ in vectors)
    return tuple(base for family in families for base in registry.bases(family))
