"""A recipe as a tree: sums of weighted references, calls and groups. `str` of any part gives its canonical text."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Self

from arithmetic.errors import AlgebraError, RecipeError
from arithmetic.recipe.scopes import Scope
from arithmetic.recipe.stages import Stage
from arithmetic.recipe.text import number_text, reference_text, value_text

Option = float | int | str | bool
Resolve = Callable[[str], str]


@dataclass(frozen=True)
class Reference:
    """A name, a version, an alias, a digest (sha256:...) or a path."""

    text: str

    def __str__(self) -> str:
        return reference_text(self.text)

    def lock(self, resolve: Resolve) -> "Reference":
        return Reference(resolve(self.text))

    def names(self) -> Iterator[str]:
        yield self.text

    def calls(self) -> Iterator["Call"]:
        yield from ()


@dataclass(frozen=True)
class Call:
    """A method of sums: ties(0.7*a, 0.5*b; density=0.3, seed=1). The options are kept in the order of their names."""

    name: str
    arguments: tuple["Sum", ...]
    options: tuple[tuple[str, Option], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", tuple(sorted(self.options, key=lambda option: option[0])))

    def __str__(self) -> str:
        options = ", ".join(f"{name}={value_text(value)}" for name, value in self.options)
        return f"{self.name}({', '.join(map(str, self.arguments))}{f'; {options}' if options else ''})"

    def lock(self, resolve: Resolve) -> "Call":
        return replace(self, arguments=tuple(argument.lock(resolve) for argument in self.arguments))

    def names(self) -> Iterator[str]:
        for argument in self.arguments:
            yield from argument.names()

    def calls(self) -> Iterator["Call"]:
        yield self
        for argument in self.arguments:
            yield from argument.calls()


@dataclass(frozen=True)
class Group:
    """A sum in parentheses, whose stages come before what stands around it. Raises RecipeError without a stage."""

    sum: "Sum"

    def __post_init__(self) -> None:
        if not self.sum.stages:
            raise RecipeError(f"({self.sum}): a group has a stage; without one its terms are of the sum around it.")

    def __str__(self) -> str:
        return f"({self.sum})"

    def lock(self, resolve: Resolve) -> "Group":
        return Group(self.sum.lock(resolve))

    def names(self) -> Iterator[str]:
        return self.sum.names()

    def calls(self) -> Iterator[Call]:
        return self.sum.calls()


Atom = Reference | Call | Group


@dataclass(frozen=True)
class Term:
    """One weighted atom; the weight is the lambda of tau' = sum_i lambda_i tau_i, and each scope multiplies it."""

    weight: float
    atom: Atom
    scopes: tuple[Scope, ...] = ()

    def __str__(self) -> str:
        return ("-" if self.weight < 0 else "") + self.magnitude

    @property
    def magnitude(self) -> str:
        """The canonical text without the sign."""
        weight = abs(self.weight)
        text = f"{self.atom}{''.join(map(str, self.scopes))}"
        return text if weight == 1 else f"{number_text(weight)}*{text}"

    @property
    def reference(self) -> str:
        """The reference that the term weighs. Raises AlgebraError for a call or a group, which have several."""
        if not isinstance(self.atom, Reference):
            raise AlgebraError(f"{self}: the term is no single reference, but what is made of several.")
        return self.atom.text

    def lock(self, resolve: Resolve) -> "Term":
        return replace(self, atom=self.atom.lock(resolve))


@dataclass(frozen=True)
class Sum:
    """A signed sum in the order typed, then the stages that it goes through. Raises RecipeError without a term."""

    terms: tuple[Term, ...]
    stages: tuple[Stage, ...] = ()

    def __post_init__(self) -> None:
        if not self.terms:
            raise RecipeError("A sum has at least one term.")

    def __str__(self) -> str:
        first, *rest = self.terms
        text = str(first) + "".join(f" {'-' if term.weight < 0 else '+'} {term.magnitude}" for term in rest)
        return text + "".join(f" | {stage}" for stage in self.stages)

    def names(self) -> Iterator[str]:
        """Every reference, in the order written, as often as it stands."""
        for term in self.terms:
            yield from term.atom.names()

    def calls(self) -> Iterator[Call]:
        """Every method that is called, in the order written, those inside others after them."""
        for term in self.terms:
            yield from term.atom.calls()

    def lock(self, resolve: Resolve) -> Self:
        """The same with every reference, wherever it stands, replaced by what `resolve` returns (sha256:...)."""
        return replace(self, terms=tuple(term.lock(resolve) for term in self.terms))


@dataclass(frozen=True)
class Recipe(Sum):
    """The whole text. dtype is said once, and last: it is how the result is written, whatever the other stages are.

    Raises RecipeError for two of it.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        written = tuple(stage for stage in self.stages if stage.name == "dtype")
        if len(written) > 1:
            raise RecipeError("dtype is given twice; keep one.")
        object.__setattr__(self, "stages", tuple(s for s in self.stages if s.name != "dtype") + written)

    @property
    def dtype(self) -> str:
        """The precision that the recipe asks for: fp32 unless a stage says otherwise."""
        return next((str(stage.arguments[0]) for stage in self.stages if stage.name == "dtype"), "fp32")

    @property
    def references(self) -> tuple[str, ...]:
        """Every reference once, in the order written, those inside calls and groups included."""
        return tuple(dict.fromkeys(self.names()))


def with_stage(recipe: Recipe, stage: Stage) -> Recipe:
    """The recipe with one more stage at its end; unchanged where it ends so already.

    Raises:
        RecipeError: another dtype where the recipe has one.
    """
    if stage.name == "dtype" and any(written.name == "dtype" for written in recipe.stages):
        if recipe.dtype != stage.arguments[0]:
            raise RecipeError(f"{recipe}: asks for dtype({recipe.dtype}), not {stage}; keep one of them.")
        return recipe
    others = [written for written in recipe.stages if written.name != "dtype"]
    return recipe if others[-1:] == [stage] else replace(recipe, stages=(*recipe.stages, stage))
