"""Alphas outside a file's tensors: in adapter_config.json, in `lora_adapter_metadata`, or by default the rank."""

import json
import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from formats.architecture import COMPONENTS
from formats.errors import FormatError
from formats.header import Header

ADAPTER_METADATA = "lora_adapter_metadata"
"""The header key in which diffusers keeps one LoraConfig a component, flattened."""

PEFT_DEFAULT_ALPHA = 8.0
"""LoraConfig.lora_alpha when nothing was said (peft/tuners/lora/config.py)."""

REMEDY = "Correct the adapter's configuration."

_LITERAL = re.compile(r"\^?[\w.]+\$?")
_MAX_PATTERN = 1000


@dataclass(frozen=True)
class Patterns:
    """PEFT's rank_pattern or alpha_pattern: regular expressions matched against the end of a module's name.

    The first one that matches counts (peft/utils/other.py: `get_pattern_key`). Plain names, which is nearly all of
    them, are looked up; the others are tried one by one.
    """

    literal: Mapping[str, tuple[int, float]]
    expressions: Sequence[tuple[int, re.Pattern[str], float]]

    @classmethod
    def parse(cls, patterns: Mapping[str, float]) -> "Patterns":
        """Raises FormatError for an expression that cannot be compiled or a value that is no number."""
        literal: dict[str, tuple[int, float]] = {}
        expressions = []
        for position, (pattern, number) in enumerate(patterns.items()):
            value = _number(number, f"alpha_pattern[{pattern!r}]")
            if _LITERAL.fullmatch(pattern):
                literal.setdefault(pattern.removesuffix("$"), (position, value))
            else:
                expressions.append((position, _compiled(pattern), value))
        return cls(literal, expressions)

    def find(self, name: str) -> float | None:
        """The value of the first pattern that matches `name`."""
        parts = name.split(".")
        ends = (".".join(parts[start:]) for start in range(len(parts)))
        found = [self.literal[end] for end in (f"^{name}", *ends) if end in self.literal]
        found += [(position, value) for position, pattern, value in self.expressions if pattern.match(name)]
        return min(found)[1] if found else None


@dataclass(frozen=True)
class AlphaRule:
    """How one component's alphas follow from a LoraConfig. Without one, alpha is the rank and the scale is 1.

    `rank` and its patterns matter to the one kind whose tensors do not show a rank: a LoKr of two whole factors.
    """

    alpha: float | None = None
    patterns: Patterns = field(default_factory=lambda: Patterns({}, ()))
    is_rank_stabilised: bool = False
    rank: int | None = None
    rank_patterns: Patterns = field(default_factory=lambda: Patterns({}, ()))

    @classmethod
    def parse(cls, config: Mapping[str, Any]) -> "AlphaRule":
        """The rule of a LoraConfig, or of a LoHaConfig or LoKrConfig, which call it `alpha`.

        Raises FormatError where a field has the wrong type.
        """
        alpha = _number(config.get("lora_alpha", config.get("alpha", PEFT_DEFAULT_ALPHA)), "lora_alpha")
        rank = None if config.get("r") is None else int(_number(config["r"], "r"))
        patterns, rank_patterns = _patterns(config, "alpha_pattern"), _patterns(config, "rank_pattern")
        return cls(alpha, patterns, bool(config.get("use_rslora")), rank, rank_patterns)

    def rank_of(self, names: Sequence[str]) -> int | None:
        """The rank that was configured for the module that goes by any of `names`; None without a configuration."""
        matches = (self.rank_patterns.find(name) for name in names)
        found = next((value for value in matches if value is not None), self.rank)
        return None if found is None or found < 1 else int(found)

    def alpha_of(self, names: Sequence[str], rank: int) -> float:
        """The alpha for which the scale is alpha / rank, of the module that goes by any of `names`.

        A rank-stabilised adapter has scale alpha / sqrt(rank), so its alpha is multiplied by sqrt(rank).
        """
        if self.alpha is None:
            return float(rank)
        matches = (self.patterns.find(name) for name in names)
        alpha = next((value for value in matches if value is not None), self.alpha)
        return alpha * math.sqrt(rank) if self.is_rank_stabilised else alpha


def alpha_rules(header: Header, config: Mapping[str, Any] | None) -> Mapping[str, AlphaRule]:
    """The rule of each component: from `config` if given, else from the header, else alpha = rank."""
    if config is not None:
        return dict.fromkeys(COMPONENTS, AlphaRule.parse(config))
    if ADAPTER_METADATA not in header.metadata:
        return dict.fromkeys(COMPONENTS, AlphaRule())
    try:
        entries = json.loads(header.metadata[ADAPTER_METADATA])
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{header.path}: {ADAPTER_METADATA} is not JSON: {error}. Export the file again.") from error
    if not isinstance(entries, dict):
        raise FormatError(f"{header.path}: {ADAPTER_METADATA} is not an object. Export the file again.")
    return {component: _rule_of(component, entries) for component in COMPONENTS}


def _patterns(config: Mapping[str, Any], field_name: str) -> Patterns:
    pattern = config.get(field_name) or {}
    if not isinstance(pattern, dict):
        raise FormatError(f"{field_name}: got {pattern!r}, expected an object. Correct the adapter's configuration.")
    return Patterns.parse(pattern)


def _rule_of(component: str, entries: Mapping[str, Any]) -> AlphaRule:
    own = {key.partition(".")[2]: value for key, value in entries.items() if key.startswith(f"{component}.")}
    if own:
        return AlphaRule.parse(own)
    shared = {key: value for key, value in entries.items() if key.partition(".")[0] not in COMPONENTS}
    return AlphaRule.parse(shared) if "r" in shared or "lora_alpha" in shared else AlphaRule()


def _number(value: Any, name: str) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not abs(value) <= sys.float_info.max:
        raise FormatError(f"{name}: got {value!r:.80}, expected a finite number. {REMEDY}")
    return float(value)


def _compiled(pattern: str) -> re.Pattern[str]:
    if len(pattern) > _MAX_PATTERN:
        raise FormatError(f"a pattern of {len(pattern)} characters, the limit is {_MAX_PATTERN}. {REMEDY}")
    try:
        return re.compile(rf"(.*\.)?({pattern})$")
    except re.error as error:
        raise FormatError(
            f"{pattern!r} is no regular expression: {error}. Correct the adapter's configuration."
        ) from error
