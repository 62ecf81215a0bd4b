"""The marks that adapters leave in keys: the last part of a key says which piece of which kind of adapter it is.

Kinds and marks as LyCORIS (`weight_list_det`), ComfyUI (comfy/weight_adapter), PEFT and diffusers write them.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from formats.header import Header

ROLES_BY_KIND: Mapping[str, Mapping[str, str]] = {
    "lora": {
        ".lora_down.weight": "down",
        ".lora_up.weight": "up",
        ".lora_mid.weight": "mid",
        ".lora_A.weight": "down",
        ".lora_B.weight": "up",
        ".down.weight": "down",
        ".up.weight": "up",
        ".lora_embedding_A": "embedding_down",
        ".lora_embedding_B": "embedding_up",
        ".lora_B.bias": "up_bias",
    },
    "loha": {f".{role}": role for role in ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2")},
    "lokr": {
        f".{role}": role
        for role in ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t1", "lokr_t2")
    },
    "glora": {f".{role}.weight": role for role in ("a1", "a2", "b1", "b2")},
    "oft": {
        ".oft_blocks": "oft_blocks",
        ".oft_diag": "oft_blocks",
        ".oft_R.weight": "oft_r",
        ".oft_r": "oft_r",
        ".oft_s": "oft_s",
    },
    "boft": {".boft_R": "boft_r", ".boft_s": "boft_s"},
    "ia3": {".on_input": "on_input", ".ia3_l": "ia3_l"},
    "full": {
        ".diff": "diff",
        ".diff_b": "diff_b",
        ".set_weight": "set_weight",
        ".w_norm": "w_norm",
        ".b_norm": "b_norm",
    },
}
"""Adapter kind -> the end of a key -> the role of its tensor."""

MODIFIERS: Mapping[str, str] = {
    ".alpha": "alpha",
    ".rescale": "rescale",
    ".scalar": "scalar",
    ".reshape_weight": "reshape",
    ".bias_indices": "bias_indices",
    ".bias_values": "bias_values",
    ".bias_size": "bias_size",
    ".dora_scale": "magnitude",
    ".lora_magnitude_vector": "magnitude",
    ".lora_magnitude_vector.weight": "magnitude",
}
"""Ends of keys that say something about an adapter of any kind."""

KIND_OF_ROLE: Mapping[str, str] = {role: kind for kind, roles in ROLES_BY_KIND.items() for role in roles.values()}

NORM = "norm"
NORM_ROLES = frozenset({"w_norm", "b_norm"})
"""What an adapter of any kind may keep of normalisation layers beside its own modules."""

BUNDLED = "bundle_emb."
"""How the keys begin of the text embeddings that OneTrainer keeps beside an adapter."""

_ROLE_OF_END: Mapping[str, str] = {
    **{end[1:]: role for roles in ROLES_BY_KIND.values() for end, role in roles.items()},
    **{end[1:]: role for end, role in MODIFIERS.items()},
}
_ROLE_OF_FLAT_END = {end: role for end, role in _ROLE_OF_END.items() if end not in ("down.weight", "up.weight")}
"""What follows the first dot of a key whose stem has none, as kohya's: looked up first, since most keys are."""

_SECOND_PARTS = frozenset(end.rpartition(".")[2] for end in _ROLE_OF_END if "." in end)
_NAMED_ADAPTER = re.compile(r"(\.lora_(?:[AB]|magnitude_vector))\.([^.]+)((?:\.weight|\.bias)?)")
_NAMING = (".lora_A.", ".lora_B.", ".lora_magnitude_vector.")
_OLD_ENDS = frozenset({"down.weight", "up.weight"})
_OLD_STEM_ENDS = ("_lora", ".lora", ".lora_linear_layer")


@dataclass(frozen=True, slots=True)
class Marks:
    """A header's keys by stem and role. `strange` are the keys that carry no adapter's mark."""

    pieces: Mapping[str, Mapping[str, str]]
    strange: tuple[str, ...]


def read_marks(header: Header) -> Marks:
    """Sort the keys of `header` by stem and role, without a single adapter's name (`.lora_A.default.weight`)."""
    pieces: dict[str, dict[str, str]] = {}
    strange: list[str] = []
    shorten: Callable[[str], str] | None = None
    for key in header.tensors:
        stem, _, end = key.partition(".")
        role = _ROLE_OF_FLAT_END.get(end, "") if stem else ""
        if not role:
            shorten = shorten or _shortening(header)
            stem, role = _split(shorten(key))
        if not role:
            strange.append(key)
        elif (roles := pieces.get(stem)) is None:
            pieces[stem] = {role: key}
        elif role in roles:
            strange.append(key)
        else:
            roles[role] = key
    return _weights_of_ia3(Marks(pieces, tuple(strange)))


def kind_of(shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """The adapter kind of one module's pieces, by role; None when it has modifiers alone."""
    kinds = Counter(KIND_OF_ROLE[role] for role in shapes if role in KIND_OF_ROLE)
    if not kinds:
        return None
    if shapes.keys() & KIND_OF_ROLE.keys() <= NORM_ROLES:
        return NORM
    kind = kinds.most_common(1)[0][0]
    return "boft" if kind == "oft" and len(shapes.get("oft_blocks", ())) == 4 else kind


def _split(key: str) -> tuple[str, str]:
    """`key` as (stem, role), by its longest known end; the role is empty when it has none."""
    stem, _, end = key.rpartition(".")
    if end in _SECOND_PARTS:
        place, _, before = stem.rpartition(".")
        both = f"{before}.{end}"
        role = _ROLE_OF_END.get(both, "")
        if role and place:
            return (place, "") if both in _OLD_ENDS and not place.endswith(_OLD_STEM_ENDS) else (place, role)
    return stem, _ROLE_OF_END.get(end, "") if stem else ""


def _shortening(header: Header) -> Callable[[str], str]:
    """What takes a single adapter's name out of a key."""
    name = _adapter_name(header)
    return str if name is None else lambda key: _without_name(key, name)


def _adapter_name(header: Header) -> str | None:
    text = "\n".join(header.tensors)
    if not any(naming in text for naming in _NAMING):
        return None
    matches = (_NAMED_ADAPTER.search(key) for key in header.tensors)
    names = {match[2] for match in matches if match and match[2] not in ("weight", "bias")}
    return names.pop() if len(names) == 1 else None


def _without_name(key: str, name: str) -> str:
    return _NAMED_ADAPTER.sub(lambda match: match[1] + match[3] if match[2] == name else match[0], key)


def _weights_of_ia3(marks: Marks) -> Marks:
    """IA3 calls its vector plainly `.weight`: it is known by the `.on_input` beside it."""
    stems = {stem for stem, roles in marks.pieces.items() if "on_input" in roles} if marks.strange else set()
    vectors = {key.removesuffix(".weight"): key for key in marks.strange if key.endswith(".weight")}
    taken = {stem: vectors[stem] for stem in stems & vectors.keys()}
    pieces = {s: {**roles, "ia3_l": taken[s]} if s in taken else roles for s, roles in marks.pieces.items()}
    return Marks(pieces, tuple(key for key in marks.strange if key not in taken.values()))
