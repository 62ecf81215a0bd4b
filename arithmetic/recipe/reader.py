"""From the syntax tree of a recipe to the recipe: exact products, and every name and number checked where it stands."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from typing import NamedTuple, TypeVar, cast

from lark import Token, Tree

from arithmetic.errors import RecipeError, RecipeSyntaxError
from arithmetic.recipe.blocks import BlockList
from arithmetic.recipe.expression import Atom, Call, Group, Option, Recipe, Reference, Sum, Term
from arithmetic.recipe.scopes import Rule, Scope
from arithmetic.recipe.selectors import ELSE, LBW, Block, Pattern
from arithmetic.recipe.signatures import OptionSignature, Signature
from arithmetic.recipe.stages import Argument, Stage
from arithmetic.recipe.text import TRUTH, unknown

LARGEST_WEIGHT = Decimal("1e30")
"""Beyond it a product with a factor's entries overflows float32 for certain."""

DEEPEST = 50
"""How many parentheses may stand in each other."""

EXACT = Context(prec=1000, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[])
"""What weights are multiplied in: nobody types products of more digits."""

Node = Tree[Token]
Made = TypeVar("Made")


class Part(NamedTuple):
    """One term while the weights around it are multiplied in; the weight is exact, as typed."""

    weight: Decimal
    atom: Atom
    scopes: tuple[Scope, ...] = ()


@dataclass(frozen=True)
class Reader:
    """Reads the nodes of one text's tree. Every method raises RecipeSyntaxError with the place."""

    text: str
    signatures: Mapping[str, Signature]

    def recipe(self, tree: Node) -> Recipe:
        total, stages = _nodes(tree)
        read = self._stages(stages)
        twice = [node for node, stage in zip(_nodes(stages), read, strict=True) if stage.name == "dtype"][1:]
        if twice:
            raise self._error(twice[0], "dtype is given twice; keep one.")
        return Recipe(self._terms(total, 0), read)

    def _terms(self, node: Node, depth: int) -> tuple[Term, ...]:
        return tuple(Term(self._float(node, p.weight), p.atom, p.scopes) for p in self._sum(node, depth))

    def _sum(self, node: Node, depth: int) -> tuple[Part, ...]:
        if depth > DEEPEST:
            raise self._error(node, f"More than {DEEPEST} parentheses stand in each other.")
        sign = Decimal(1)
        parts: list[Part] = []
        for child in node.children:
            if isinstance(child, Token):
                sign = Decimal(-1)
            elif child.data == "operator":
                sign = Decimal(-1 if cast(Token, child.children[0]).type == "MINUS" else 1)
            else:
                parts += self._scaled(child, sign, self._product(child, depth))
        return tuple(parts)

    def _product(self, node: Node, depth: int) -> tuple[Part, ...]:
        weight = Decimal(1)
        parts: tuple[Part, ...] | None = None
        for factor in _nodes(node):
            if factor.data == "number":
                weight = EXACT.multiply(weight, self._number(factor))
            elif parts is not None:
                raise self._error(factor, "A product takes one vector and numbers, not two vectors.")
            else:
                parts = self._scoped(factor, depth)
        if parts is None:
            raise self._error(node, "A number alone is no vector. Multiply one by it: 0.8*papercut.")
        return self._scaled(node, weight, parts)

    def _scaled(self, node: Node, weight: Decimal, parts: Iterable[Part]) -> tuple[Part, ...]:
        scaled = tuple(part._replace(weight=EXACT.multiply(weight, part.weight)) for part in parts)
        for part in scaled:
            self._float(node, part.weight)
        return scaled

    def _scoped(self, node: Node, depth: int) -> tuple[Part, ...]:
        """The atom's terms, each with its own scopes first."""
        inner, *braces = _nodes(node)
        scopes = tuple(self._scope(brace) for brace in braces)
        return tuple(part._replace(scopes=part.scopes + scopes) for part in self._atom(inner, depth))

    def _atom(self, node: Node, depth: int) -> tuple[Part, ...]:
        if node.data == "reference":
            return (Part(Decimal(1), Reference(self._reference(node))),)
        if node.data == "call":
            return (Part(Decimal(1), self._call(node, depth + 1)),)
        total, stages = _nodes(node)
        if not stages.children:
            return self._sum(total, depth + 1)
        return (Part(Decimal(1), Group(Sum(self._terms(total, depth + 1), self._inner_stages(stages)))),)

    def _reference(self, node: Node) -> str:
        reference = self._unquoted(cast(Token, node.children[0]))
        if not reference.strip():
            raise self._error(node, "The quotes hold no name.")
        return reference

    def _unquoted(self, token: Token) -> str:
        if token.type == "RAW_QUOTED":
            return token[1:-1]
        if token.type != "QUOTED":
            return str(token)
        try:
            return str(json.loads(token))
        except json.JSONDecodeError as error:
            place = (token.start_pos or 0) + error.pos
            message = f"Inside double quotes, backslashes follow JSON: {error.msg}."
            raise RecipeSyntaxError(self.text, place, message) from None

    def _call(self, node: Node, depth: int) -> Call:
        name = str(node.children[0])
        signature = self.signatures.get(name)
        if signature is None:
            raise self._error(node, unknown("method", name, self.signatures))
        children = _nodes(node)
        arguments = tuple(self._argument(child, depth) for child in children if child.data == "argument")
        options = self._options(node, name, signature, [child for child in children if child.data == "option"])
        least, most = signature.arguments
        if len(arguments) < least or (most is not None and len(arguments) > most):
            raise self._error(node, f"{name} takes {_count(least, most)}, got {len(arguments)}.")
        return Call(name, arguments, tuple(options.items()))

    def _argument(self, node: Node, depth: int) -> Sum:
        total, stages = _nodes(node)
        if stages.children:
            raise self._error(_nodes(stages)[0], "Stages of an argument take parentheses: ties((a | rank(8)), b).")
        return Sum(self._terms(total, depth))

    def _options(self, call: Node, name: str, signature: Signature, nodes: list[Node]) -> dict[str, Option]:
        options: dict[str, Option] = {}
        for node in nodes:
            option = str(node.children[0])
            if option not in signature.options:
                raise self._error(node, unknown("option", option, signature.options, f"of {name}"))
            if option in options:
                raise self._error(node, f"{option} is given twice; keep one.")
            options[option] = self._value(option, signature.options[option], _nodes(node)[0])
        missing = [option for option, spec in signature.options.items() if spec.required and option not in options]
        if missing:
            raise self._error(call, f"{name} needs the option {missing[0]}, {signature.options[missing[0]].expected}.")
        return options

    def _value(self, option: str, signature: OptionSignature, node: Node) -> Option:
        token = cast(Token, node.children[0])
        if token.type in ("NUMBER", "SIGNED_NUMBER"):
            number = self._written_number(node)
            if signature.kind == "float" and signature.holds(number):
                return float(number)
            if signature.kind == "int" and isinstance(number, int) and signature.holds(number):
                return number
        if signature.kind == "bool" and token in TRUTH:
            return TRUTH[token]
        if signature.kind == "choice" and self._unquoted(token) in signature.choices:
            return self._unquoted(token)
        raise self._error(node, f"{option} takes {signature.expected}, got {token}.")

    def _inner_stages(self, node: Node) -> tuple[Stage, ...]:
        stages = self._stages(node)
        for child, stage in zip(_nodes(node), stages, strict=True):
            if stage.name == "dtype":
                raise self._error(child, "dtype says how the whole result is written: it stands at the end.")
        return stages

    def _stages(self, node: Node) -> tuple[Stage, ...]:
        return tuple(self._stage(child) for child in _nodes(node))

    def _stage(self, node: Node) -> Stage:
        arguments = tuple(self._stage_argument(child) for child in _nodes(node))
        return self._made(node, lambda: Stage(str(node.children[0]), arguments))

    def _stage_argument(self, node: Node) -> Argument:
        token = cast(Token, node.children[0])
        if token.type == "REFERENCE":
            return str(token)
        return self._written_number(node)

    def _written_number(self, node: Node) -> int | float:
        """An int where the number is whole."""
        exact = self._number(node)
        number = self._float(node, exact)
        return int(exact) if exact == exact.to_integral_value() else number

    def _scope(self, node: Node) -> Scope:
        rules: list[Rule | BlockList] = []
        otherwise: float | None = None
        for child in _nodes(node):
            selector, value = _nodes(child)
            if selector.children[0] == ELSE:
                if otherwise is not None:
                    raise self._error(child, "else is given twice; keep one.")
                otherwise = self._one_number(value)
            else:
                rules.append(self._rule(selector, value))
        return self._made(node, lambda: Scope(tuple(rules), 1.0 if otherwise is None else otherwise))

    def _rule(self, selector: Node, value: Node) -> Rule | BlockList:
        if selector.children[0] != LBW:
            return Rule(self._selector(selector), self._one_number(value))
        if value.data != "list":
            raise self._error(value, "lbw takes a list of numbers, BASE included: lbw: [1, 0, ...].")
        factors = tuple(self._float(child, self._number(child)) for child in _nodes(value))
        return self._made(value, lambda: BlockList(factors))

    def _selector(self, node: Node) -> Block | Pattern:
        token = cast(Token, node.children[0])
        if token.type == "REGULAR_EXPRESSION":
            return self._made(node, lambda: Pattern(token[1:-1]))
        name = self._unquoted(token)
        return self._made(node, lambda: Block(name))

    def _one_number(self, node: Node) -> float:
        if node.data == "list":
            raise self._error(node, "A rule has one number; a list belongs to lbw.")
        return self._float(node, self._number(node))

    def _number(self, node: Node) -> Decimal:
        return EXACT.create_decimal(cast(Token, node.children[0]))

    def _float(self, node: Node, number: Decimal) -> float:
        """The nearest float64, never -0."""
        if not number.is_finite() or abs(number) > LARGEST_WEIGHT:
            raise self._error(node, f"The number is larger than {LARGEST_WEIGHT:e}.")
        if number and not float(number):
            raise self._error(node, "The number is too small for a float64; write 0.")
        return float(number) + 0.0

    def _made(self, node: Node, make: Callable[[], Made]) -> Made:
        """What `make` makes; its refusal gets the place of `node`."""
        try:
            return make()
        except RecipeError as error:
            raise self._error(node, str(error)) from None

    def _error(self, node: Node, message: str) -> RecipeSyntaxError:
        return RecipeSyntaxError(self.text, node.meta.start_pos, message)


def _nodes(node: Node) -> list[Node]:
    """The children that are nodes themselves."""
    return [child for child in node.children if not isinstance(child, Token)]


def _count(least: int, most: int | None) -> str:
    if least == most:
        return "one sum" if least == 1 else f"{least} sums"
    return f"{least} or more sums" if most is None else f"{least} to {most} sums"
