"""A recipe while somebody works on it: what its terms are, what is known against it, and how it is painted."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from workbench.errors import NotABase
from workbench.outcomes import outcome_of
from workbench.painting.profiles import USUAL, Sampling, chosen_sampling, recommended_sampling
from workbench.recipes.edits import PARTS, TermText, canonical, terms_of, with_references, with_term
from workbench.recipes.references import is_path, require_names
from workbench.recipes.resolving import ResolvedRecipe, resolve_recipe
from workbench.sums.checking import verdict_of

if TYPE_CHECKING:
    from arithmetic import Finding
    from registry import Registry, Version


@dataclass(frozen=True)
class DraftTerm:
    """A term as it is written, with the version that it refers to; None for a method, a group, an unknown name."""

    written: TermText
    version: "Version | None"
    parts: tuple[str, ...]
    """Those of PARTS in which the vector has modules, and those that have a factor."""

    @property
    def is_base(self) -> bool:
        """Whether the term is the base that the sum stands on."""
        return self.version is not None and self.version.kind == "base"


@dataclass(frozen=True)
class Draft:
    """A recipe's text and all that could be found out about it; nothing is refused here, it is said."""

    text: str
    """Canonical where it can be read."""
    terms: tuple[DraftTerm, ...] = ()
    base: "Version | None" = None
    candidates: "tuple[Version, ...]" = ()
    """The bases to choose from, where the recipe leaves the choice."""
    error: str | None = None
    """Why it means nothing yet; shows the place with a caret where there is one."""
    findings: "tuple[Finding, ...]" = ()
    locked: str | None = None
    trigger_words: tuple[str, ...] = ()
    recommended: Sampling = USUAL
    """How its vectors want to be sampled."""
    sampling: Sampling = USUAL
    """The same with what somebody chose otherwise."""
    versions: "tuple[Version, ...]" = field(default=(), repr=False)
    """Every registered version that takes part, each once."""

    @property
    def is_sound(self) -> bool:
        """Whether it can be painted: everything is found, on one base, and nothing forbids the sum."""
        return self.error is None and self.base is not None and not self.has_errors

    @property
    def has_errors(self) -> bool:
        """Whether a finding forbids the sum."""
        return any(finding.severity == "error" for finding in self.findings)

    @property
    def has_vectors(self) -> bool:
        """Whether anything stands beside the base."""
        return any(version.kind != "base" for version in self.versions)

    @property
    def is_marked(self) -> bool:
        """Whether a model that takes part is marked NSFW; the base does where the recipe does not name it, too."""
        return any(version.nsfw for version in (*self.versions, *([self.base] if self.base else [])))

    @property
    def painted(self) -> str:
        """The recipe to paint: of an empty one the base alone."""
        return self.text or (self.base.ref if self.base else "")


def read_draft(
    registry: "Registry", text: str, base: str | None = None, *, said: Mapping[str, Any] | None = None
) -> Draft:
    """What `text` means as far as it goes; `said` are the settings of the sampling that somebody chose, by name.

    `base` is for a recipe that names none. Only registered versions take part: a path is not looked at. What is wrong
    is in the draft, for people.
    """
    from arithmetic import parse

    try:
        written, text = terms_of(text), canonical(text)
    except Exception as error:
        return Draft(text, error=_message(error))
    draft = Draft(text, tuple(DraftTerm(one, _version(registry, one.reference), tuple(one.parts)) for one in written))
    base = None if any(term.is_base for term in draft.terms) else base
    try:
        if not text:
            return _alone(registry, draft, base, said or {})
        require_names((*parse(text).references, *([base] if base else [])))
        return _found(registry, draft, resolve_recipe(registry, text, base), said or {})
    except Exception as error:
        return replace(_partly_found(registry, draft, base), error=_message(error))


def pinned(registry: "Registry", text: str, *, keep_aliases: bool = False) -> str:
    """The recipe with NAME:NUMBER for every name, so that it means the same tomorrow.

    With `keep_aliases` NAME@ALIAS stays, so that it means what the alias will mean then. Raises what `get` raises.
    """
    from arithmetic import parse

    if not text.strip():
        return ""
    names = [one for one in parse(text).references if not is_path(one) and not (keep_aliases and "@" in one)]
    return with_references(text, {name: registry.get(name).ref for name in names})


def _alone(registry: "Registry", draft: Draft, base: str | None, said: Mapping[str, Any]) -> Draft:
    """Of an empty recipe: the base."""
    version = _chosen(registry, base)
    if version is None:
        return draft
    return _sampled(registry, replace(draft, base=version), resolve_recipe(registry, version.ref), said)


def _found(registry: "Registry", draft: Draft, resolved: ResolvedRecipe, said: Mapping[str, Any]) -> Draft:
    from arithmetic import SamplingSettings

    versions = tuple({found.version.id: found.version for found in resolved.inputs if found.version}.values())
    found = replace(
        _sampled(registry, draft, resolved, said),
        terms=tuple(replace(term, parts=_parts(resolved, term)) for term in draft.terms),
        base=resolved.base,
        candidates=resolved.candidates,
        locked=str(resolved.locked),
        trigger_words=tuple(dict.fromkeys(word for version in versions for word in version.trigger_words)),
        versions=versions,
    )
    settings = SamplingSettings(**found.sampling.judged)
    findings = verdict_of(registry, resolved, settings=settings).findings if resolved.vectors else ()
    return replace(found, findings=findings)


def _sampled(registry: "Registry", draft: Draft, resolved: ResolvedRecipe, said: Mapping[str, Any]) -> Draft:
    """How it is painted: as recommended where what somebody chose is refused, which the draft says then."""
    recommended = recommended_sampling(registry, resolved)
    try:
        chosen = chosen_sampling(registry, resolved, **said)
    except Exception as error:
        return replace(draft, recommended=recommended, sampling=recommended, error=_message(error))
    return replace(draft, recommended=recommended, sampling=chosen)


def _partly_found(registry: "Registry", draft: Draft, base: str | None) -> Draft:
    """What is known of the vectors although the recipe as a whole means nothing: their parts, their base."""
    known = [term.written.reference for term in draft.terms if term.version is not None]
    try:
        plain = resolve_recipe(registry, " + ".join(with_term("", name) for name in known if name), base)
    except Exception as error:
        _message(error)
        return replace(draft, base=_chosen_if_any(registry, base))
    terms = tuple(replace(term, parts=_parts(plain, term)) for term in draft.terms)
    return replace(draft, terms=terms, base=plain.base, candidates=plain.candidates)


def _parts(resolved: ResolvedRecipe, term: DraftTerm) -> tuple[str, ...]:
    from arithmetic import Block, Vector

    opened = resolved.opened.get(term.written.reference or "")
    modules = opened.modules if isinstance(opened, Vector) else ()
    adapted = {name for name in PARTS if any(map(Block(name).selects, modules))}
    return tuple(name for name in PARTS if name in adapted or name in term.written.parts)


def _version(registry: "Registry", reference: str | None) -> "Version | None":
    """What a reference names; a name that nothing answers to is said by the recipe's error."""
    from registry import RegistryError

    if reference is None or is_path(reference):
        return None
    try:
        return registry.get(reference)
    except RegistryError:
        return None


def _chosen(registry: "Registry", base: str | None) -> "Version | None":
    if base is None:
        return None
    version = registry.get(base)
    if version.kind != "base":
        raise NotABase(f"{base}: {version.ref} is of kind {version.kind}; choose a base")
    return version


def _chosen_if_any(registry: "Registry", base: str | None) -> "Version | None":
    version = _version(registry, base)
    return version if version is not None and version.kind == "base" else None


def _message(error: Exception) -> str:
    """What a foreseen error says; any other one is raised again."""
    if outcome_of(error) is None:
        raise error
    return str(error)


def bases(registry: "Registry", limit: int = 200) -> "list[Version]":
    """The bases to choose from, by name."""
    return registry.search(kind="base", sort="name", limit=limit)
