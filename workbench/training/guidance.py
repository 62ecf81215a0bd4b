"""Guidance for people, in both ways of counting it: w of c + w (c - u), which is stored, and the scale w + 1."""

from collections.abc import Mapping, Sequence

STORED = ("w", "w_min", "w_max", "distilled_w")
"""The settings of jobs and entries of sampling profiles that are w, or the two ends of a range of it."""


def both_ways(w: float | Sequence[float]) -> str:
    """`7.5 (guidance scale 8.5)`; of a range `2 to 14 (guidance scale 3 to 15)`."""
    ends = [w] if isinstance(w, float | int) else list(w)
    stored, scales = (" to ".join(f"{end + more:g}" for end in ends) for more in (0, 1))
    return f"{stored} (guidance scale {scales})"


def in_both_ways(said: Mapping[str, object]) -> dict[str, object]:
    """The entries with every w in both ways."""
    return {key: both_ways(value) if _is_w(key, value) else value for key, value in said.items()}  # type: ignore[arg-type]


def guidance_of(said: Mapping[str, object]) -> str:
    """Every w among the entries in both ways, on one line; empty where there is none."""
    shown = in_both_ways(said)
    return ", ".join(f"{key} {shown[key]}" for key in STORED if key in said)


def _is_w(key: str, value: object) -> bool:
    return key in STORED and isinstance(value, float | int | list | tuple)
