"""One picture of a grid before it is painted: what it shows, how, and the key that it is kept under."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Self

from workbench.errors import InvalidSettings
from workbench.painting.init_pictures import keep_init
from workbench.painting.keys import picture_key
from workbench.painting.profiles import Sampling, chosen_sampling
from workbench.recipes.references import is_path
from workbench.recipes.resolving import ResolvedRecipe, resolve_recipe

if TYPE_CHECKING:
    from arithmetic import Recipe
    from registry import Preview, Registry


@dataclass(frozen=True)
class Ground:
    """A recipe that was looked up once, so that its numbers can be changed without looking anything up again."""

    recipe: "Recipe"
    """As typed."""
    pinned: "Recipe"
    """With the number of each version, and absolute paths: it means the same to another process, later."""
    locked: "Recipe"
    base: str
    base_digest: str

    @classmethod
    def of(cls, resolved: ResolvedRecipe) -> Self:
        """Raises what `required_base` raises."""
        from pathlib import Path

        named = {found.reference: found for found in resolved.inputs}

        def pin(reference: str) -> str:
            if is_path(reference):
                return str(Path(reference).expanduser().resolve())
            return named[reference].named

        base = resolved.required_base
        return cls(resolved.recipe, resolved.recipe.lock(pin), resolved.locked, base.ref, base.digest)


@dataclass(frozen=True)
class Cell:
    """One picture: where it stands, what is painted, and `key`, the digest of all that decides its pixels."""

    panel: int
    row: int
    column: int
    recipe: str
    """As typed, with this cell's numbers."""
    pinned: str
    """The same with the number of each version."""
    locked: str
    """The same with digests for names."""
    base: str
    base_digest: str
    prompt: str
    seed: int
    sampling: Sampling
    key: str

    @classmethod
    def at(cls, place: tuple[int, int, int], ground: Ground, prompt: str, seed: int, sampling: Sampling) -> Self:
        """The cell of a ground's numbers as they are, at (panel, row, column)."""
        panel, row, column = place
        locked = str(ground.locked)
        return cls(
            panel=panel,
            row=row,
            column=column,
            recipe=str(ground.recipe),
            pinned=str(ground.pinned),
            locked=locked,
            base=ground.base,
            base_digest=ground.base_digest,
            prompt=prompt,
            seed=seed,
            sampling=sampling,
            key=picture_key(locked, ground.base_digest, prompt, seed, sampling),
        )

    @property
    def current_key(self) -> str:
        """The key that this machine's software would paint it under."""
        return picture_key(self.locked, self.base_digest, self.prompt, self.seed, self.sampling)

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """The cell that `to_json` wrote. Raises InvalidSettings."""
        return cls(**{**_exact(cls, document), "sampling": sampling_of(document.get("sampling", {}))})


def sampling_of(document: Mapping[str, Any]) -> Sampling:
    """The settings in a spec or in the record of a sheet; one that was written before there was a setting lacks it.

    Raises InvalidSettings for one that there is not.
    """
    known = {field.name for field in fields(Sampling)}
    if unknown := set(document) - known:
        raise InvalidSettings(f"sampling: {', '.join(sorted(unknown))} is unknown; expected {', '.join(sorted(known))}")
    return Sampling.of_record(document)


def stored_preview(
    registry: "Registry",
    text: str,
    prompt: str,
    *,
    base: str | None = None,
    sampling: Sampling | None = None,
    seed: int = 0,
) -> "Preview | None":
    """The picture that the registry keeps of exactly this, None where it was not painted yet. Loads no model.

    Raises as `preview` before it paints.
    """
    resolved = resolve_recipe(registry, text, base)
    chosen = keep_init(registry, chosen_sampling(registry, resolved, sampling))
    key = picture_key(str(resolved.locked), resolved.required_base.digest, prompt, seed, chosen)
    return registry.pictures([key]).get(key)


def _exact(cls: type[Any], document: Mapping[str, Any]) -> dict[str, Any]:
    known = [field.name for field in fields(cls)]
    if set(document) != set(known):
        odd = ", ".join(sorted(set(document) ^ set(known)))
        raise InvalidSettings(f"{cls.__name__.lower()}: expected {', '.join(known)}; {odd} is missing or unknown")
    return dict(document)
