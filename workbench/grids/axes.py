"""The axes of a grid: `papercut=0:1.2:5`, `solver=lcm,tcd`, `prompt="a fox, asleep",a hare`."""

import json
from dataclasses import dataclass
from fractions import Fraction
from typing import Self

from workbench.errors import InvalidAxis

Value = float | int | str

TEXTS = ("solver", "prompt", "recipe")
WHOLE = ("steps", "seed")
NUMBERS = (*WHOLE, "guidance")
SETTINGS = (*NUMBERS, *TEXTS)
"""What an axis can turn beside the numbers of a recipe; a term of such a name is written in quotes."""

SAMPLING = ("steps", "solver", "guidance")
"""Those of the settings that are of the sampling."""

MOST_VALUES = 200
"""Of one axis: more is a slip of the keyboard."""

DECIMALS = 6
"""Of the values of a range."""

_OPEN, _CLOSED = "([{", ")]}"


@dataclass(frozen=True)
class Axis:
    """What changes along one side of a grid, and the values that it takes, in their order.

    `name` is one of SETTINGS, or names a number of the recipe as `workbench.grids.dials` does (`is_term` tells a term
    that has the name of a setting). Raises InvalidAxis.
    """

    name: str
    values: tuple[Value, ...]
    is_term: bool = False

    def __post_init__(self) -> None:
        if self.name not in SETTINGS:
            object.__setattr__(self, "is_term", True)
        if not 1 <= len(self.values) <= MOST_VALUES:
            raise InvalidAxis(f"axis {self.name}: {len(self.values)} values, expected 1 to {MOST_VALUES}")
        if repeated := [value for i, value in enumerate(self.values) if value in self.values[:i]]:
            raise InvalidAxis(f"axis {self.name}: {repeated[0]} stands there twice; leave one out")
        object.__setattr__(self, "values", tuple(_read(self, value) for value in self.values))

    @classmethod
    def parse(cls, text: str) -> Self:
        """NAME=FROM:TO:COUNT, or NAME=VALUE,VALUE; values in quotes may hold commas. Raises InvalidAxis."""
        places = [i for i, depth in _depths(text) if text[i] == "=" and not depth]
        if not places or not text[: places[0]].strip():
            raise InvalidAxis(f"axis {text!r}: expected NAME=VALUES, such as papercut=0:1.2:5 or solver=lcm,tcd")
        name, values = text[: places[0]].strip(), text[places[0] + 1 :].strip()
        is_term = len(name) > 1 and name[0] == name[-1] == '"'
        name = name[1:-1] if is_term and name[1:-1] in SETTINGS else name
        if name in TEXTS and not is_term:
            return cls(name, tuple(_text(name, value) for value in _separated(values)))
        numbers = _range(name, values) if ":" in values else tuple(_number(name, v) for v in values.split(","))
        return cls(name, numbers, is_term)

    def __str__(self) -> str:
        """What `parse` reads as this axis."""
        name = f'"{self.name}"' if self.is_term and self.name in SETTINGS else self.name
        return f"{name}={','.join(map(self._written, self.values))}"

    @property
    def is_setting(self) -> bool:
        """Whether it turns a setting, and no number of the recipe."""
        return not self.is_term

    @property
    def title(self) -> str:
        """What stands beside the axis."""
        return f"{self.name} strength" if self.is_term else self.name

    def label(self, value: Value) -> str:
        """What stands beside a row or above a column."""
        return value if isinstance(value, str) else f"{value:g}"

    def extended(self, *values: Value) -> "Axis":
        """The axis with more values: numbers in their order, others at the end."""
        together = (*self.values, *(value for value in values if value not in self.values))
        ordered = sorted(together) if self.name not in TEXTS or self.is_term else together  # type: ignore[type-var]
        return Axis(self.name, tuple(ordered), self.is_term)

    def _written(self, value: Value) -> str:
        if isinstance(value, str):
            is_plain = _separated(value) == [value] and value.strip() == value and value[:1] != '"'
            return value if is_plain else json.dumps(value, ensure_ascii=False)
        return repr(value).removesuffix(".0")


def _read(axis: Axis, value: Value) -> Value:
    """The value as its axis has it: a whole number, a number, or a text that is not empty."""
    if axis.is_term or axis.name == "guidance":
        return float(_required(axis.name, value, (int, float)))
    if axis.name in WHOLE:
        number = _required(axis.name, value, (int, float))
        if number != int(number):
            raise InvalidAxis(f"axis {axis.name}: {number:g} is no whole number")
        return int(number)
    if not isinstance(value, str) or (not value.strip() and axis.name != "prompt"):
        raise InvalidAxis(f"axis {axis.name}: expected a text, got {value!r}")
    return value


def _required(name: str, value: Value, kinds: tuple[type, ...]) -> float:
    if not isinstance(value, kinds) or isinstance(value, bool | str) or not abs(value) < float("inf"):
        raise InvalidAxis(f"axis {name}: expected a finite number, got {value!r}")
    return value


def _range(name: str, text: str) -> tuple[float, ...]:
    """FROM:TO:COUNT, both ends included."""
    parts = text.split(":")
    if len(parts) != 3 or not parts[2].strip().isdecimal() or int(parts[2]) > MOST_VALUES:
        raise InvalidAxis(f"axis {name}: {text!r} is no range; expected FROM:TO:COUNT, such as 0:1.2:5")
    start, stop, count = _exact(name, parts[0]), _exact(name, parts[1]), int(parts[2])
    if count < 2:
        raise InvalidAxis(f"axis {name}: a range has at least 2 values; for one, write {name}={parts[0]}")
    return tuple(round(float(start + (stop - start) * i / (count - 1)), DECIMALS) for i in range(count))


def _exact(name: str, text: str) -> Fraction:
    try:
        return Fraction(text.strip())
    except (ValueError, ZeroDivisionError) as error:
        raise InvalidAxis(f"axis {name}: {text!r} is no number") from error


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise InvalidAxis(f"axis {name}: {text!r} is no number; give FROM:TO:COUNT, or numbers and commas") from error


def _text(name: str, written: str) -> str:
    """A value in quotes without them; in a recipe they may be of a single name, which keeps its own."""
    if len(written) > 1 and written[0] == written[-1] == '"':
        try:
            return str(json.loads(written))
        except ValueError:
            pass
    if not written and name != "prompt":
        raise InvalidAxis(f"axis {name}: a value is empty; leave out the comma")
    return written


def _separated(text: str) -> list[str]:
    """What stands between the commas that are in no quotes and no parentheses."""
    places = [i for i, depth in _depths(text) if text[i] == "," and not depth]
    bounds = zip([-1, *places], [*places, len(text)], strict=True)
    return [text[start + 1 : end].strip() for start, end in bounds]


def _depths(text: str) -> list[tuple[int, int]]:
    """For each character its place and how deep it is in quotes and parentheses; one that is never closed is plain."""
    found, depth, quoted, escaped = [], 0, False, False
    for i, letter in enumerate(text):
        if quoted:
            quoted = escaped or letter != '"'
            escaped = letter == "\\" and not escaped
        elif letter == '"':
            quoted = text.find('"', i + 1) >= 0
        elif letter in _OPEN and any(close in text[i + 1 :] for close in _CLOSED):
            depth += 1
        elif letter in _CLOSED:
            depth = max(0, depth - 1)
        found.append((i, depth + quoted))
    return found
