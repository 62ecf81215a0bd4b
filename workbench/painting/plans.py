"""Where pictures will be painted, what that takes and how long, known before a base is loaded; and bases so opened."""

import gc
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from workbench.painting.base_files import base_files
from workbench.painting.init_pictures import keep_init
from workbench.painting.paces import foreseen_seconds, learn_pace, pace_key
from workbench.painting.profiles import Sampling, SamplingWords, chosen_sampling
from workbench.recipes.resolving import resolve_recipe

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline

    from distill_jobs.execution.shelf import Shelf
    from registry import Registry, Version
    from sampling import Painting, Placement
    from sampling.memory import Footprint

HALF = 2
"""Bytes of a number of a vector, as it is usually stored."""

BASES_KNOWN = 64


@dataclass(frozen=True)
class PaintingPlan:
    """How pictures will be painted. `seconds` are those of the painting itself; None where nothing is known."""

    device: str
    title: str
    """What the device is called."""
    needed_bytes: int
    free_bytes: int
    seconds: float | None
    offload: str
    """none, model (networks are brought one after another), sequential (layers are)."""
    tiling: bool
    """Whether the VAE decodes in tiles, which can be seen at their seams."""
    batch: int
    """Pictures at a time."""
    pictures: int
    size: tuple[int, int]
    """(height, width) in pixels."""
    weights_bytes: int

    @property
    def placement(self) -> "Placement":
        """What `load_pipeline` is told."""
        from sampling import Placement

        return Placement(self.offload, self.tiling, self.batch, self.needed_bytes)  # type: ignore[arg-type]

    @property
    def sentence(self) -> str:
        """The plan in one line: device, memory, time."""
        from sampling.memory import spelled

        height, width = self.size
        count = f"{self.pictures} picture{'s' if self.pictures != 1 else ''}"
        took = "nothing like it was painted here yet" if self.seconds is None else f"about {_duration(self.seconds)}"
        ways = [f"{self.batch} at a time"] if self.batch < self.pictures else []
        ways += {"none": [], "model": ["networks wait in main memory"], "sequential": ["layers wait in main memory"]}[
            self.offload
        ]
        ways += ["the VAE in tiles"] if self.tiling else []
        return (
            f"{count} of {width}x{height} on {self.device} ({self.title}): {spelled(self.needed_bytes)} of "
            f"{spelled(self.free_bytes)} free, {took}{''.join(f', {way}' for way in ways)}"
        )


def plan_painting(
    registry: "Registry",
    text: str,
    *,
    base: str | None = None,
    sampling: Sampling | None = None,
    pictures: int = 1,
    device: str | None = None,
    **said: Unpack[SamplingWords],
) -> PaintingPlan:
    """How `pictures` pictures of a recipe would be painted here now; `sampling` and `said` as `preview` takes them.

    `device` is cuda, cuda:1, mps, cpu or auto; None: what TAU_DEVICE says, else auto.
    Raises UnknownDevice, TooLittleMemory with what would fit, and what `preview` raises before it loads a base.
    """
    resolved = resolve_recipe(registry, text, base)
    chosen = keep_init(registry, chosen_sampling(registry, resolved, sampling, **said))
    vectors = {one.vector.weights_path for one in resolved.vectors}
    beside = sum(path.stat().st_size for path in vectors if path.is_file())
    return plan_base(registry, resolved.required_base, [chosen], pictures, device=device, vector_bytes=beside)


def plan_base(
    registry: "Registry",
    base: "Version",
    samplings: Sequence[Sampling],
    pictures: int,
    *,
    device: str | None = None,
    vector_bytes: int = 0,
    kept_bytes: int = 0,
) -> PaintingPlan:
    """The same for a base: large enough for each of `samplings`, with `kept_bytes` counted as free."""
    from sampling.devices import find_device
    from sampling.placement import Work, placement

    where = find_device(device or named_device())
    itemsize = where.dtype.itemsize
    footprint = _footprint(registry, base, itemsize).beside(vector_bytes * itemsize // HALF)
    size = max((_size(one, footprint) for one in samplings), key=lambda size: size[0] * size[1])
    guided = any(one.guidance > 1 for one in samplings) and not footprint.unet.get("time_cond_proj_dim")
    free = where.free_bytes + kept_bytes
    chosen = placement(footprint, Work(pictures, size, guided), where, free)
    evaluations = max(one.settings().steps_taken for one in samplings) * (2 if guided else 1)
    return PaintingPlan(
        device=where.name,
        title=where.title,
        needed_bytes=chosen.needed_bytes,
        free_bytes=free,
        seconds=foreseen_seconds(registry.home, pace_key(base.digest, where.title, size), evaluations, pictures),
        offload=chosen.offload,
        tiling=chosen.tiling,
        batch=chosen.batch,
        pictures=pictures,
        size=size,
        weights_bytes=footprint.resident(chosen.offload),
    )


def learn_from(registry: "Registry", base: "Version", pipe: Any, painting: "Painting") -> None:
    """Remember how long a painting took."""
    from sampling.devices import title_of
    from sampling.placement import device_of

    width, height = painting.images[0].size
    key = pace_key(base.digest, title_of(device_of(pipe)), (height, width))
    learn_pace(registry.home, key, painting.evaluations, len(painting.images), painting.seconds)


def open_planned(registry: "Registry", base: "Version", plan: PaintingPlan) -> "StableDiffusionPipeline":
    """A pipeline of its own, on the device and in the way of the plan."""
    from sampling import load_pipeline
    from sampling.devices import find_device

    dtype = find_device(plan.device).dtype
    return load_pipeline(base_files(registry, base), device=plan.device, dtype=dtype, chosen=plan.placement)


def named_device() -> str:
    """The device that the settings name: TAU_DEVICE."""
    from registry.settings import Settings

    return Settings().device


class Opener:
    """Opens bases for so many pictures of some samplings, each once; on a painter's shelf they stay for the next job.

    Called with a base, as `preview` does.
    """

    def __init__(
        self,
        registry: "Registry",
        samplings: Sequence[Sampling],
        pictures: int,
        *,
        shelf: "Shelf | None" = None,
        device: str | None = None,
    ) -> None:
        from distill_jobs.execution.shelf import Shelf

        self._registry, self._samplings, self._pictures, self._device = registry, samplings, pictures, device
        self._shelf = shelf if shelf is not None else Shelf()
        self._used: list[Hashable] = []

    def __call__(self, base: "Version") -> "StableDiffusionPipeline":
        """The base as a pipeline."""
        from sampling.placement import adjust

        plan = plan_base(
            self._registry,
            base,
            self._samplings,
            self._pictures,
            device=self._device,
            kept_bytes=self._shelf.kept_bytes,
        )
        key = (base.digest, plan.device, plan.offload)
        self._used.append(key)
        pipe = self._shelf.get(
            key,
            lambda: open_planned(self._registry, base, plan),
            size=plan.weights_bytes,
            needed=plan.needed_bytes,
            free=lambda: _free_bytes(plan.device),
        )
        adjust(pipe, plan.placement)
        return pipe

    def forget(self) -> None:
        """Keep nothing of what was opened: nobody knows in which state it is."""
        for key in self._used:
            self._shelf.drop(key)


def _free_bytes(device: str) -> int:
    """What is free there when nothing is kept that nobody uses, beside what has to stay free."""
    from sampling.devices import empty_caches, find_device
    from sampling.placement import RESERVE

    gc.collect()
    empty_caches()
    return find_device(device).free_bytes - RESERVE


def _footprint(registry: "Registry", base: "Version", itemsize: int) -> "Footprint":
    """What a base weighs; its files are looked at once."""
    from sampling.footprints import footprint_of_file, footprint_of_folder

    key = (base.digest, itemsize)
    if key not in _FOOTPRINTS:
        place = base_files(registry, base)
        if len(_FOOTPRINTS) >= BASES_KNOWN:
            _FOOTPRINTS.clear()
        _FOOTPRINTS[key] = (
            footprint_of_folder(place, itemsize)
            if isinstance(place, Path)
            else footprint_of_file(place.file, place.configuration, itemsize)
        )
    return _FOOTPRINTS[key]


_FOOTPRINTS: "dict[tuple[str, int], Footprint]" = {}
"""(digest of a base, bytes of a number) -> what it weighs."""


def _size(sampling: Sampling, footprint: "Footprint") -> tuple[int, int]:
    """(height, width) in pixels: what is said, else the base's own."""
    height, width = footprint.own_size
    return sampling.height or height, sampling.width or width


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
