"""What one module of a file is made of: its kind, and which key holds which piece of it.

A stem's keys may adapt two things, a weight and its bias: each is a module of its own here, as is each half of a
normalisation.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from formats.architecture import Architecture, ModuleSpec
from formats.marks import kind_of
from formats.scales import AlphaRule
from formats.shapes import Shape, Shapes, rank_of
from formats.spellings import inner_names

BIAS_ROLES: Mapping[str, str] = {"up_bias": "lora", "diff_b": "full", "b_norm": "norm"}
"""Role -> the kind of the bias that it changes."""

SCALED_BY_CONFIGURATION = frozenset({"lora", "loha", "lokr"})
"""The kinds for which PEFT's configurations hold an alpha."""

WITHOUT_BIAS = (".to_q", ".to_k", ".to_v", ".cond_proj", ".text_projection")
"""Ends of the linear layers of a Stable Diffusion base that have no bias."""

_MODIFIERS = frozenset({"alpha", "magnitude", "scalar"})
_HADAMARD = frozenset({"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"})

FORMS: Mapping[str, tuple[tuple[frozenset[str], frozenset[str]], ...]] = {
    "lora": (
        (frozenset({"down", "up"}), _MODIFIERS | {"mid", "reshape"}),
        (frozenset({"embedding_down", "embedding_up"}), frozenset({"alpha", "magnitude"})),
    ),
    "loha": (
        (_HADAMARD, _MODIFIERS),
        (_HADAMARD | {"hada_t1", "hada_t2"}, _MODIFIERS),
    ),
    "lokr": tuple(
        (frozenset({*first, *second}), _MODIFIERS)
        for first in (("lokr_w1",), ("lokr_w1_a", "lokr_w1_b"))
        for second in (("lokr_w2",), ("lokr_w2_a", "lokr_w2_b"), ("lokr_w2_a", "lokr_w2_b", "lokr_t2"))
    ),
    "glora": ((frozenset({"a1", "a2", "b1", "b2"}), frozenset({"alpha", "scalar"})),),
    "oft": (
        (frozenset({"oft_blocks"}), frozenset({"alpha", "rescale"})),
        (frozenset({"oft_r"}), frozenset({"oft_s"})),
    ),
    "boft": (
        (frozenset({"oft_blocks"}), frozenset({"alpha", "rescale"})),
        (frozenset({"boft_r", "boft_s"}), frozenset()),
    ),
    "ia3": ((frozenset({"ia3_l"}), frozenset({"on_input"})),),
    "full": ((frozenset({"diff"}), frozenset()), (frozenset({"set_weight"}), frozenset())),
    "norm": ((frozenset({"w_norm"}), frozenset()),),
}
"""Kind -> the sets of roles that make a whole module, each with the roles that may stand beside them."""


@dataclass(frozen=True, slots=True)
class AdaptedModule:
    """One module in a file. `keys` is role -> key, in the file's order.

    Where the kind has a scale it is alpha / dim; `alpha` is None where the file keeps it under `alpha_key`. Without a
    `dim` there is none: the alpha of a LoKr of two whole factors is ignored, that of a rotation is its constraint.
    Where the table has a linear layer the tensors may carry a 1x1 kernel, and the other way round.
    """

    module: str
    kind: str
    keys: Mapping[str, str]
    dim: int | None
    alpha: float | None

    @property
    def alpha_key(self) -> str | None:
        """Where the file holds alpha, or a rotation's constraint, as a tensor."""
        return self.keys.get("alpha")


def modules_of_stem(
    module: str, roles: Mapping[str, str], shapes: Shapes, architecture: Architecture, rules: Mapping[str, AlphaRule]
) -> Iterator[AdaptedModule]:
    """The weight and the bias that the keys of one stem adapt; neither where the pieces do not make a whole.

    `module` is the table's name, or a normalisation's without its end.
    """
    is_norm = module not in architecture.modules
    weight = {role: key for role, key in roles.items() if role not in BIAS_ROLES}
    biases = [role for role in roles if role in BIAS_ROLES]
    if weight and not (kind := _whole(weight, shapes)):
        return
    if weight:
        dim, alpha = _strength(module, kind, weight, shapes, rules)
        yield AdaptedModule(f"{module}.weight" if is_norm else module, kind, weight, dim, alpha)
        if _scales_bias(module, kind, shapes, architecture):
            yield AdaptedModule(f"{module}.bias", kind, weight, None, None)
    for role in biases:
        if len(biases) > 1 or (role == "up_bias" and not weight):
            continue
        keys = {role: roles[role]}
        if role == "up_bias":
            yield AdaptedModule(f"{module}.bias", "lora", keys | _alpha(weight), dim, alpha)
        else:
            yield AdaptedModule(f"{module}.bias", BIAS_ROLES[role], keys, None, None)


def is_ia3_of_inputs(shape: Shape, spec: ModuleSpec, is_feedforward: bool | None) -> bool | None:
    """Whether PEFT's IA3 vector multiplies inputs; None where it cannot be known.

    Linear layers tell by their shape, (1, in) or (out, 1); convolutions have (1, in or out, 1, 1), and where these are
    equal the configuration's feedforward_modules decide.
    """
    if len(shape) == 2 and spec.kind == "linear":
        return shape[0] == 1 and (shape[1] != 1 or spec.shape[1] == 1)
    rows, columns = spec.shape[:2]
    if rows != columns:
        return max(shape) == columns
    return is_feedforward


def _whole(roles: Mapping[str, str], shapes: Shapes) -> str:
    """The kind of pieces that make a whole module, "" where they do not."""
    kind = kind_of({role: shapes[role] for role in roles}) or ""
    fits = any(needed <= roles.keys() <= needed | allowed for needed, allowed in FORMS.get(kind, ()))
    return kind if fits else ""


def _strength(
    module: str, kind: str, roles: Mapping[str, str], shapes: Shapes, rules: Mapping[str, AlphaRule]
) -> tuple[int | None, float | None]:
    """(dim, alpha) of alpha / dim; alpha is None where the file holds it, both where there is no scale."""
    component, _, name = module.partition(".")
    names = inner_names(component, name)
    rule = rules[component]
    dim = rank_of({role: shapes[role] for role in roles})
    if dim is None and kind == "lokr":
        dim = rule.rank_of(names)
    if dim is None or "alpha" in roles:
        return dim, None
    return dim, rule.alpha_of(names, dim) if kind in SCALED_BY_CONFIGURATION else float(dim)


def _scales_bias(module: str, kind: str, shapes: Shapes, architecture: Architecture) -> bool:
    """Whether an IA3 vector of PEFT's multiplies the bias too: it does where it multiplies outputs."""
    if kind != "ia3" or "on_input" in shapes or module not in architecture.modules or module.endswith(WITHOUT_BIAS):
        return False
    return is_ia3_of_inputs(shapes["ia3_l"], architecture.modules[module], None) is not True


def _alpha(roles: Mapping[str, str]) -> dict[str, str]:
    return {"alpha": roles["alpha"]} if "alpha" in roles else {}
