"""Base + vectors at run time: each vector is loaded once, then its strength is a number, or one for each module.

theta' = theta_pre + sum_i lambda_i tau_i (Luo et al. 2023, arXiv 2311.05556): the adapters stay beside the base's
weights, so changing a lambda touches no weight and reads no file.
"""

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, count
from math import isfinite
from weakref import WeakKeyDictionary

from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from arithmetic.files.attachment import Attachment, diffusers_state_dict
from arithmetic.sources.source import Source
from formats import COMPONENTS
from formats.folders import canonical_name
from sampling.base import Pipeline, networks
from sampling.errors import UnsupportedSetting, VectorMismatch
from sampling.prompts import forget
from sampling.warnings import known_warnings_silenced

Strength = float | Mapping[str, float]
"""A lambda: one number, or one for each module."""

_HELD: WeakKeyDictionary[Pipeline, dict[Hashable, str]] = WeakKeyDictionary()
"""Content -> the name under which `hold` attached it."""


def attach(pipe: Pipeline, vectors: Mapping[str, Source]) -> None:
    """Load each vector, or what was made of several, beside the base, all or none; afterwards every strength is 0.

    Raises VectorMismatch when a name is attached already, or a vector has a module that this base has not, or has in
    another size; NotAttachable for what only the base's own weights could hold.
    """
    states = {name: diffusers_state_dict(source) for name, source in vectors.items()}
    for name, state in states.items():
        if name in attached(pipe):
            raise VectorMismatch(f"{name!r} is attached already; detach it first, or attach under another name.")
        _refuse_misfit(pipe, name, state)
    for name, state in states.items():
        _load(pipe, name, state)
    forget(pipe)
    _activate(pipe, {})


def hold(pipe: Pipeline, parts: Sequence[Attachment]) -> int:
    """Have exactly `parts` beside the base, at their strengths; how many of them had to be loaded.

    What is there already stays, whatever recipe it came with, and is neither read nor injected again. A part that
    changes nothing is not loaded for that. When loading fails, the base is left alone.

    Raises as `attach`.
    """
    held = _HELD.setdefault(pipe, {})
    wanted = {part.content: part for part in parts}
    if gone := [name for name in attached(pipe) if name not in {held.get(content) for content in wanted}]:
        detach(pipe, *gone)
        _HELD[pipe] = held = {content: name for content, name in held.items() if name not in gone}
    missing = {content: part for content, part in wanted.items() if content not in held and not part.is_silent}
    try:
        for content, part in missing.items():
            name = _free(part.name, held.values())
            attach(pipe, {name: part.source})
            held[content] = name
    except BaseException:
        del _HELD[pipe]
        if attached(pipe):
            detach(pipe)
        raise
    # in the order of the sum, since floating-point sums depend on it
    set_strengths(pipe, {held[content]: part.strength for content, part in wanted.items() if content in held})
    return len(missing)


def set_strengths(pipe: Pipeline, lambdas: Mapping[str, Strength]) -> None:
    """Set lambda of each named vector, and 0 for every other attached one. No weight is loaded or changed.

    A lambda is a number, or numbers by module; a module of the vector that is not among them is silent.

    Raises VectorMismatch for a name that is not attached, UnsupportedSetting for a strength that is not finite.
    """
    _refuse_unknown(pipe, lambdas)
    for name, strength in lambdas.items():
        for weight in strength.values() if isinstance(strength, Mapping) else (strength,):
            if not isfinite(weight):
                raise UnsupportedSetting(f"{name}: a strength must be a finite number, got {weight}.")
    _activate(pipe, {name: strength for name, strength in lambdas.items() if strength})


def strengths(pipe: Pipeline) -> dict[str, Strength]:
    """The lambda of each vector on `pipe`, as `set_strengths` left it; sorted by name."""
    found: dict[str, dict[str, float]] = {name: {} for name in attached(pipe)}
    for module, layer in _layers(pipe):
        for adapter in layer.scaling:
            is_active = not layer.disable_adapters and adapter in layer.active_adapters
            found[_name(adapter)][module] = layer.scaling[adapter] if is_active else 0.0
    return {name: _together(by_module) for name, by_module in found.items()}


def detach(pipe: Pipeline, *names: str) -> None:
    """Remove the named vectors, or all of them when none is named; the others keep their strengths.

    Raises VectorMismatch for a name that is not attached.
    """
    _refuse_unknown(pipe, names)
    kept = {name: weight for name, weight in strengths(pipe).items() if names and name not in names}
    if kept:
        with known_warnings_silenced():
            pipe.delete_adapters([_adapter(name) for name in names])
        set_strengths(pipe, kept)
    else:
        pipe.unload_lora_weights()
    forget(pipe)


def attached(pipe: Pipeline) -> tuple[str, ...]:
    """The names of the vectors on `pipe`, sorted."""
    adapters = {adapter for names in pipe.get_list_adapters().values() for adapter in names}
    return tuple(sorted(_name(adapter) for adapter in adapters))


def _refuse_unknown(pipe: Pipeline, names: Iterable[str]) -> None:
    if unknown := sorted(set(names) - set(attached(pipe))):
        there = ", ".join(attached(pipe)) or "none"
        raise VectorMismatch(
            f"{', '.join(unknown)}: not attached to this pipeline. Attached: {there}. Attach it first."
        )


def _load(pipe: Pipeline, name: str, state: dict[str, Tensor]) -> None:
    adapter = _adapter(name)
    with known_warnings_silenced():
        pipe.load_lora_weights(dict(state), adapter_name=adapter)
        landed = {module for module, layer in _layers(pipe) if layer.scaling.get(adapter) == 1}
        if lost := sorted({_module(key) for key in state} - landed):
            pipe.delete_adapters(adapter)
            raise VectorMismatch(f"{name}: diffusers left out {len(lost)} of its modules, the first is {lost[0]}.")


def _refuse_misfit(pipe: Pipeline, name: str, state: Mapping[str, Tensor]) -> None:
    """Raise VectorMismatch unless each module of `state` exists in the base with the same input and output size."""
    weights = _weights(pipe)
    for key, factor in state.items():
        module = _module(key)
        if module not in weights:
            raise VectorMismatch(f"{name}: this base has no module {module}. The vector is for another architecture.")
        inward = ".lora_A." in key
        side = slice(1, None) if inward else slice(0, 1)
        got, base = list(factor.shape[side]), list(weights[module].shape[side])
        if got != base:
            raise VectorMismatch(
                f"{name}: {module}: the vector's {'input' if inward else 'output'} is {got}, the base's is {base}. "
                f"The vector is for another architecture."
            )


def _module(key: str) -> str:
    return key.rpartition(".lora_")[0]


def _weights(pipe: Pipeline) -> dict[str, Tensor]:
    """Canonical module name -> the base's own weight."""
    return {
        f"{component}.{canonical_name(component, name)}": getattr(layer, "base_layer", layer).weight
        for component, network in _reached(pipe).items()
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv2d | BaseTunerLayer)
    }


def _layers(pipe: Pipeline) -> Iterator[tuple[str, BaseTunerLayer]]:
    """(canonical module name, layer) of every adapted module."""
    for component, network in _reached(pipe).items():
        for name, layer in network.named_modules():
            if isinstance(layer, BaseTunerLayer):
                yield f"{component}.{canonical_name(component, name)}", layer


def _reached(pipe: Pipeline) -> dict[str, nn.Module]:
    """The networks that a vector can change, by name: all but the VAE."""
    return {component: network for component, network in networks(pipe).items() if component in COMPONENTS}


def _activate(pipe: Pipeline, lambdas: Mapping[str, Strength]) -> None:
    """Set them on every adapted module, in one pass; every other vector is out of the forward pass."""
    adapters = {_adapter(name): strength for name, strength in lambdas.items()}
    for module, layer in _layers(pipe):
        here = {adapter: strength for adapter, strength in adapters.items() if adapter in layer.scaling}
        if layer.active_adapters != list(here):
            layer.set_adapter(list(here))
        for adapter, strength in here.items():
            layer.set_scale(adapter, strength.get(module, 0.0) if isinstance(strength, Mapping) else strength)
        if layer.disable_adapters == bool(here):
            layer.enable_adapters(bool(here))


def _together(by_module: Mapping[str, float]) -> Strength:
    """One number where every module has the same."""
    distinct = set(by_module.values())
    return by_module if len(distinct) > 1 else distinct.pop()


def _free(name: str, taken: Collection[str]) -> str:
    """The name, or where another content has it the name with a number."""
    return next(one for one in chain([name], (f"{name}#{i}" for i in count(2))) if one not in taken)


def _adapter(name: str) -> str:
    """The name under which PEFT keeps the vector `name`: a module name, so it may hold no full stop."""
    return name.replace("%", "%25").replace(".", "%2E")


def _name(adapter: str) -> str:
    return adapter.replace("%2E", ".").replace("%25", "%")
