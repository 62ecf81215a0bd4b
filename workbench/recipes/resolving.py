"""From the text of a recipe to its base, its opened vectors, what it computes, and its locked form."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from workbench.errors import BaseUndecided, NotABase, UnknownInRecipe, UnsupportedRecipe
from workbench.recipes.architectures import Architectures
from workbench.recipes.references import Resolved, resolve

if TYPE_CHECKING:
    from arithmetic import Bound, Combination, Opened, Recipe, Stage, Term, Vector
    from formats import Architecture
    from registry import Registry, Version


class WeightedVector(NamedTuple):
    """One vector of a recipe: the product of the lambdas before it, the vector, its version (None for a path)."""

    weight: float
    vector: "Vector"
    version: "Version | None"


@dataclass(frozen=True)
class ResolvedRecipe:
    """A recipe whose every reference was found."""

    text: str
    """As typed."""
    recipe: "Recipe"
    bound: "Bound"
    """What it computes."""
    base: "Version | None"
    """The registered base that it stands on."""
    candidates: "tuple[Version, ...]"
    """Where no base was named: the registered ones of the vectors' family."""
    architecture: "Architecture | None"
    """The base's module table."""
    vectors: tuple[WeightedVector, ...]
    """Every vector, those inside methods included, in the order of the recipe."""
    inputs: tuple[Resolved, ...]
    """What each reference stands for, each once, in the order of the recipe."""
    opened: "Mapping[str, Opened]"
    """Reference -> the vector or the base that it stands for."""

    @cached_property
    def locked(self) -> "Recipe":
        """The same with sha256:... for every name; files at paths are hashed when this is asked for first."""
        locks = {found.reference: self._lock(found) for found in self.inputs}
        return self.recipe.lock(lambda reference: locks[reference])

    def _lock(self, found: Resolved) -> str:
        from arithmetic import Vector

        opened = self.opened[found.reference]
        is_file = isinstance(opened, Vector) and found.path.is_file()
        return f"sha256:{opened.sha256}" if is_file else found.locked

    @property
    def required_base(self) -> "Version":
        """The one base. Raises BaseUndecided when none is named and not exactly one fits, NotABase for a path."""
        self._require_one_base()
        if self.base is not None:
            return self.base
        if self.bound.bases:
            path = self.bound.bases[0][1].path
            raise NotABase(f"{path}: a base must be registered; import it first: tau import {path} --kind base")
        families = dict.fromkeys(vector.architecture.name for _, vector, _ in self.vectors)
        raise BaseUndecided(" or ".join(families), [base.ref for base in self.candidates])

    @property
    def vector(self) -> "Combination":
        """The vector that the recipe makes, its bases left out. Raises UnsupportedRecipe when there is none."""
        if self.bound.combination is None:
            raise UnsupportedRecipe(f"{self.text}: names no vector; add one, such as {self.text} + 0.8*papercut")
        return self.bound.combination

    @property
    def combination(self) -> "Combination":
        """The vector of a recipe on one base at most. Raises UnsupportedRecipe when there is none, or several bases."""
        vector = self.vector
        self._require_one_base()
        return vector

    @property
    def sole_version(self) -> "Version | None":
        """The version that the recipe is, as it stands: one vector at strength 1, or a base without vectors."""
        combination = self.bound.combination
        if combination is None:
            return self.base
        first = self.vectors[0] if self.vectors else None
        is_plain = not self.recipe.stages and first is not None and combination.terms == ((1.0, first.vector),)
        return first.version if first is not None and is_plain else None

    def is_base(self, term: "Term") -> bool:
        """Whether a term of the outermost sum is one of the bases."""
        from arithmetic import Reference, Vector

        return isinstance(term.atom, Reference) and not isinstance(self.opened[term.atom.text], Vector)

    def _require_one_base(self) -> None:
        if [weight for weight, _ in self.bound.bases] not in ([], [1.0]):
            sums = ", ".join(f"{weight:g}*{weights.name}" for weight, weights in self.bound.bases)
            raise UnsupportedRecipe(
                f"{self.text}: stands on {sums}, expected one base with the weight 1; bake it (tau bake), or make a "
                "vector of the difference: extract(tuned - base; rank=64)"
            )


def resolve_recipe(
    registry: "Registry | None",
    text: str,
    base: str | None = None,
    *,
    tool: str | None = None,
    device: str = "cpu",
    tables: "tuple[Architecture, ...]" = (),
) -> ResolvedRecipe:
    """Find everything that a recipe names, and bind it to what it computes.

    The base is the one in the recipe, else `base`, else the only registered one of the vectors' family, else None.
    Without a registry, references are paths. With `tool` the vectors are summed as that tool does it: `0.8*a + b`
    becomes `kohya-merge(0.8*a, b)`. `tables` are module tables to look vectors up in, beside those that are known.

    Raises:
        RecipeSyntaxError: with a caret.
        UnknownInRecipe: a reference that nothing answers to; with a caret and the nearest names.
        BindingRefused: bases whose coefficients add up to neither 1 nor 0; a call on the wrong sort of argument.
        UnsupportedRecipe: one base in the recipe and another one named beside it.
    """
    from arithmetic import Vector, base_of, bind, parse

    recipe = parse(text)
    found = {reference: _found(registry, text, reference) for reference in recipe.references}
    known = Architectures(registry, tables)
    opened = known.open_all(found)
    versions = {id(opened[reference]): one.version for reference, one in found.items()}
    vectors = [one for one in opened.values() if isinstance(one, Vector)]
    inside = base_of(recipe, opened)
    option = _named_by_option(registry, base)
    named = _one_of(text, versions.get(id(inside)), option)
    candidates = () if named or inside else _bases_of(registry, vectors)
    chosen = named or (candidates[0] if len(candidates) == 1 else None)
    beside = known.open_base(chosen) if chosen and not inside and _has_call(recipe, "on_base") else None
    recipe = (
        recipe
        if tool is None
        else as_tool(recipe, tool, {r for r, one in opened.items() if not isinstance(one, Vector)})
    )
    bound = bind(recipe, opened, base=beside, device=device)
    return ResolvedRecipe(
        text=text,
        recipe=recipe,
        bound=bound,
        base=chosen,
        candidates=candidates,
        architecture=known.of(chosen) if chosen else None,
        vectors=_weighted(bound, versions),
        inputs=tuple(found.values()),
        opened=opened,
    )


def as_tool(recipe: "Recipe", tool: str, bases: Collection[str]) -> "Recipe":
    """The recipe with its vectors inside `tool(...)`, as one sum of that tool's. Raises UnsupportedRecipe."""
    from arithmetic import DIALECTS, Call, Recipe, Reference, Sum, Term

    if tool not in {dialect.name for dialect in DIALECTS}:
        known = ", ".join(dialect.name for dialect in DIALECTS)
        raise UnsupportedRecipe(f"{tool!r} is no other tool's way to sum; expected one of {known}")
    own = [term for term in recipe.terms if isinstance(term.atom, Reference) and term.atom.text in bases]
    summed = tuple(Sum((term,)) for term in recipe.terms if term not in own)
    return Recipe((*own, Term(1.0, Call(tool, summed))), recipe.stages)


def with_stages(text: str, stages: "tuple[Stage, ...]") -> str:
    """The recipe with `| rank(64)` and the like written into it. Raises RecipeError when it asks for another dtype."""
    from arithmetic import parse, with_stage

    if not stages:
        return text
    recipe = parse(text)
    for stage in stages:
        recipe = with_stage(recipe, stage)
    return str(recipe)


def stages_of(**wanted: float | int | str | None) -> "tuple[Stage, ...]":
    """rank=64, energy=0.99, error=0.01, dtype="fp16" as the stages that a recipe says them by; None says nothing.

    Raises RecipeError for a value that the stage does not take.
    """
    from arithmetic import Stage

    return tuple(Stage(name, (value,)) for name, value in wanted.items() if value is not None)


def _found(registry: "Registry | None", text: str, reference: str) -> Resolved:
    from registry import NotFound

    try:
        return resolve(registry, reference)
    except NotFound as error:
        raise UnknownInRecipe(text, reference, str(error)) from error


def _named_by_option(registry: "Registry | None", option: str | None) -> "Version | None":
    """The base that --base names."""
    if option is None:
        return None
    version = resolve(registry, option).version
    if version is None:
        raise NotABase(f"--base {option}: a base must be registered; import it first: tau import {option} --kind base")
    if version.kind != "base":
        raise NotABase(f"--base {option}: {version.ref} is of kind {version.kind}; name a base: tau ls --kind base")
    return version


def _one_of(text: str, inside: "Version | None", option: "Version | None") -> "Version | None":
    if inside and option and inside.id != option.id:
        raise UnsupportedRecipe(f"{text}: names the base {inside.ref}, --base names {option.ref}; keep one of them")
    return inside or option


def _bases_of(registry: "Registry | None", vectors: "list[Vector]") -> "tuple[Version, ...]":
    """The registered bases of the vectors' families."""
    families = dict.fromkeys(vector.architecture.name for vector in vectors)
    return tuple(base for family in families for base in registry.bases(family)) if registry else ()


def _has_call(recipe: "Recipe", name: str) -> bool:
    return any(call.name == name for call in recipe.calls())


def _weighted(bound: "Bound", versions: "Mapping[int, Version | None]") -> tuple[WeightedVector, ...]:
    from arithmetic import Vector
    from arithmetic.sources.combination import inputs

    found = inputs(bound.combination) if bound.combination else ()
    return tuple(
        WeightedVector(weight, origin, versions[id(origin)]) for weight, origin in found if isinstance(origin, Vector)
    )
