"""Base + vectors at run time: each vector is loaded once, then its strength is a number.

theta' = theta_pre + sum_i lambda_i tau_i (Luo et al. 2023, arXiv 2311.05556): the adapters stay beside the base's
weights, so changing a lambda touches no weight and reads no file.
"""

from collections.abc import Iterator, Mapping

from diffusers import StableDiffusionPipeline
from peft.tuners.tuners_utils import BaseTunerLayer

from arithmetic.vector import Vector, diffusers_state_dict
from sampling.errors import VectorMismatch
from sampling.prompts import forget
from sampling.warnings import known_warnings_silenced


def attach(pipe: StableDiffusionPipeline, vectors: Mapping[str, Vector]) -> None:
    """Load each vector beside the base, at strength 0 until `set_strengths` says otherwise.

    Raises VectorMismatch when a name is attached already, or when a module of a vector found no place in the base.
    """
    for name, vector in vectors.items():
        if name in attached(pipe):
            raise VectorMismatch(f"{name!r} is attached already; detach it first, or attach under another name.")
        _load(pipe, name, vector)
    forget(pipe)
    _activate(pipe, {})


def set_strengths(pipe: StableDiffusionPipeline, strengths: Mapping[str, float]) -> None:
    """Set lambda of each named vector, and 0 for every other attached one. No weight is loaded or changed.

    Raises VectorMismatch for a name that is not attached.
    """
    unknown = sorted(set(strengths) - set(attached(pipe)))
    if unknown:
        there = ", ".join(attached(pipe)) or "none"
        raise VectorMismatch(
            f"{', '.join(unknown)}: not attached to this pipeline. Attached: {there}. Attach it first."
        )
    _activate(pipe, {name: weight for name, weight in strengths.items() if weight != 0})


def detach(pipe: StableDiffusionPipeline, *names: str) -> None:
    """Remove the named vectors, or all of them when none is named; the base is then as it was."""
    if unknown := sorted(set(names) - set(attached(pipe))):
        raise VectorMismatch(f"{', '.join(unknown)}: not attached to this pipeline.")
    remaining = [name for name in attached(pipe) if names and name not in names]
    if remaining:
        pipe.delete_adapters([_adapter(name) for name in names])
    else:
        pipe.unload_lora_weights()
    forget(pipe)


def attached(pipe: StableDiffusionPipeline) -> tuple[str, ...]:
    """The names of the vectors on `pipe`, sorted."""
    adapters = {adapter for names in pipe.get_list_adapters().values() for adapter in names}
    return tuple(sorted(_name(adapter) for adapter in adapters))


def _load(pipe: StableDiffusionPipeline, name: str, vector: Vector) -> None:
    state, adapter = diffusers_state_dict(vector), _adapter(name)
    wanted = {key.rpartition(".lora_")[0] for key in state}
    try:
        with known_warnings_silenced():
            pipe.load_lora_weights(state, adapter_name=adapter)
    except (RuntimeError, ValueError) as error:
        _unload(pipe, adapter)
        raise VectorMismatch(f"{name}: diffusers cannot load it into this base: {error}") from error
    if missing := sorted(wanted - _landed(pipe, adapter)):
        _unload(pipe, adapter)
        raise VectorMismatch(
            f"{name}: {len(missing)} of its {len(wanted)} modules are not in this base, the first is {missing[0]}. "
            f"It was made for another architecture."
        )


def _landed(pipe: StableDiffusionPipeline, adapter: str) -> set[str]:
    """Canonical names of the modules that hold `adapter` at scale 1."""
    return {name for name, layer in _layers(pipe) if layer.scaling.get(adapter) == 1}


def _unload(pipe: StableDiffusionPipeline, adapter: str) -> None:
    """Take a half-loaded adapter out again."""
    for component in (pipe.unet, pipe.text_encoder):
        if adapter in getattr(component, "peft_config", {}):
            pipe.delete_adapters(adapter)
            return


def _layers(pipe: StableDiffusionPipeline) -> Iterator[tuple[str, BaseTunerLayer]]:
    """(canonical module name, layer) of every adapted module; text encoders' names begin `text_model.`."""
    for component in ("unet", "text_encoder"):
        for name, layer in getattr(pipe, component).named_modules():
            if isinstance(layer, BaseTunerLayer):
                root = "text_model." if component == "text_encoder" and not name.startswith("text_model.") else ""
                yield f"{component}.{root}{name}", layer


def _activate(pipe: StableDiffusionPipeline, strengths: Mapping[str, float]) -> None:
    if strengths:
        pipe.enable_lora()
        pipe.set_adapters([_adapter(name) for name in strengths], list(strengths.values()))
    else:
        pipe.disable_lora()


def _adapter(name: str) -> str:
    """The name under which PEFT keeps the vector `name`: a module name, so it may hold no full stop."""
    return name.replace("%", "%25").replace(".", "%2E")


def _name(adapter: str) -> str:
    return adapter.replace("%2E", ".").replace("%25", "%")
