"""The marks that adapters leave in keys: the last part of a key says which piece of which kind of adapter it is.

Kinds and marks as LyCORIS (`weight_list_det`), ComfyUI (comfy/weight_adapter), PEFT and diffusers write them.
"""

import re
from collections import Counter
from collections.abc import Mapping
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
    "oft": {".oft_blocks": "oft_blocks", ".oft_R.weight": "oft_r", ".oft_r": "oft_r", ".oft_s": "oft_s"},
    "boft": {".boft_R": "boft_r", ".boft_s": "boft_s"},
    "ia3": {".on_input": "on_input", ".ia3_l": "ia3_l"},
    "full": {".diff": "diff", ".diff_b": "diff_b", ".w_norm": "w_norm", ".b_norm": "b_norm"},
}
"""Adapter kind -> the end of a key -> the role of its tensor."""

MODIFIERS: Mapping[str, str] = {
    ".alpha": "alpha",
    ".rescale": "rescale",
    ".dora_scale": "magnitude",
    ".lora_magnitude_vector": "magnitude",
    ".lora_magnitude_vector.weight": "magnitude",
}
"""Ends of keys that say something about an adapter of any kind."""

KIND_OF_ROLE: Mapping[str, str] = {role: kind for kind, roles in ROLES_BY_KIND.items() for role in roles.values()}

_ROLE_OF_END: Mapping[str, str] = {
    **{end: role for roles in ROLES_BY_KIND.values() for end, role in roles.items()},
    **MODIFIERS,
}
_NAMED_ADAPTER = re.compile(r"(\.lora_(?:[AB]|magnitude_vector))\.([^.]+)((?:\.weight|\.bias)?)")
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
    name = _adapter_name(header)
    for key in header.tensors:
        found = _split(key if name is None else _without_name(key, name))
        if found is None or found[1] in pieces.get(found[0], {}):
            strange.append(key)
        else:
            pieces.setdefault(found[0], {})[found[1]] = key
    return _weights_of_ia3(Marks(pieces, tuple(strange)))


def kind_of(roles: Mapping[str, str], header: Header) -> str | None:
    """The adapter kind of one module's pieces; None when it has modifiers alone."""
    kinds = Counter(KIND_OF_ROLE[role] for role in roles if role in KIND_OF_ROLE)
    if not kinds:
        return None
    kind = kinds.most_common(1)[0][0]
    if kind == "oft" and "oft_blocks" in roles and len(header.tensors[roles["oft_blocks"]].shape) == 4:
        return "boft"
    return kind


def _split(key: str) -> tuple[str, str] | None:
    """`key` as (stem, role), by the longest known end; None when it has none."""
    for parts in (3, 2, 1):
        stem = key.rsplit(".", parts)[0]
        end = key[len(stem) :]
        if end in _ROLE_OF_END and stem:
            is_old = end in (".down.weight", ".up.weight")
            return (stem, _ROLE_OF_END[end]) if not is_old or stem.endswith(_OLD_STEM_ENDS) else None
    return None


def _adapter_name(header: Header) -> str | None:
    matches = (_NAMED_ADAPTER.search(key) for key in header.tensors)
    names = {match[2] for match in matches if match and match[2] not in ("weight", "bias")}
    return names.pop() if len(names) == 1 else None


def _without_name(key: str, name: str) -> str:
    return _NAMED_ADAPTER.sub(lambda match: match[1] + match[3] if match[2] == name else match[0], key)


def _weights_of_ia3(marks: Marks) -> Marks:
    """IA3 calls its vector plainly `.weight`: it is known by the `.on_input` beside it."""
    stems = {stem for stem, roles in marks.pieces.items() if "on_input" in roles}
    vectors = {key.removesuffix(".weight"): key for key in marks.strange if key.endswith(".weight")}
    taken = {stem: vectors[stem] for stem in stems & vectors.keys()}
    pieces = {s: {**roles, "ia3_l": taken[s]} if s in taken else roles for s, roles in marks.pieces.items()}
    return Marks(pieces, tuple(key for key in marks.strange if key not in taken.values()))
