"""Our side of the arithmetic's benchmarks: one piece of work in a process of its own, its figures as one line of JSON.

The clock runs from the opening of the inputs to the return of the call, by which what was written is on the disk; it
starts when everything is imported. What memory is compared with is the interpreter with torch, before our own imports.
"""

import argparse
import importlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from benchmarks.subprocesses import own_memory_mib
from formats import Architecture, Layout, architecture, architecture_of_folder

if TYPE_CHECKING:
    from arithmetic import Combination

OURS = ("arithmetic", "arithmetic.baking", "registry", "workbench.sums.checking", "workbench.recipes.resolving")

Figures = dict[str, Any]


def main() -> None:
    """Do one piece of work and print what it took."""
    options = command_line().parse_args()
    work, before = WORKS[options.work], own_memory_mib()
    for module in OURS:
        importlib.import_module(module)
    began, busy = time.perf_counter(), time.process_time()
    said = work(options)
    figures = {"seconds": time.perf_counter() - began, "cpu_s": time.process_time() - busy, "before_mib": before}
    print(json.dumps({"versions": {"torch": torch.__version__}, **figures, **said}))


def command_line() -> argparse.ArgumentParser:
    """What is to be done, with what."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", choices=sorted(WORKS))
    parser.add_argument("--inputs", nargs="+", type=Path, default=[], help="weight files")
    parser.add_argument("--weights", nargs="+", type=float, default=[], help="their lambdas")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--architecture", help="of the inputs: a shipped table's name")
    parser.add_argument("--base", type=Path, help="a diffusers folder, in the place of --architecture")
    parser.add_argument("--dtype", default="fp32")
    parser.add_argument("--rank", type=int, help="recompress to it")
    parser.add_argument("--certify", action="store_true", help="hash the inputs and prove the output")
    parser.add_argument("--home", type=Path, help="a registry")
    parser.add_argument("--recipe", help="of names in that registry, or of paths")
    return parser


def compose(options: argparse.Namespace) -> Figures:
    """A kohya file of the sum, recompressed where a rank is asked for; without a proof, computed and written alone."""
    import arithmetic
    from arithmetic.files.blueprint import draw
    from arithmetic.files.composition import write

    text = _recipe(options)
    combination, precision = _combination(text, options), arithmetic.Precision(options.dtype)
    if options.certify:
        said = {"recipe": text, "locked": text}
        arithmetic.compose(combination, options.out, layout=Layout.KOHYA, dtype=precision, **said)
    else:
        write(options.out, draw(arithmetic.plan(combination), Layout.KOHYA, precision), {"recipe": text})
    return {}


def bake(options: argparse.Namespace) -> Figures:
    """A diffusers folder of the base with the sum added to it; without a proof, computed and written alone."""
    from arithmetic import DEFAULT_RESOURCES
    from arithmetic.baking import bake
    from arithmetic.baking.bakes import drafted, write
    from arithmetic.baking.output import sync_files
    from arithmetic.weights import open_weights

    text = _recipe(options)
    bases, combination = [(1.0, open_weights(options.base, _table(options)))], _combination(text, options)
    if options.certify:
        bake(bases, combination, options.out, recipe=text, locked=text)
    else:
        draft = drafted(bases, combination, options.out, None, None, {})
        write(options.out, draft, DEFAULT_RESOURCES, lambda done, total: None)
        sync_files(options.out)
    return {}


def interfere(options: argparse.Namespace) -> Figures:
    """The exact interference of two vectors."""
    from arithmetic import interference, open_vector

    first, second = (open_vector(path, _table(options)) for path in options.inputs)
    return {"cosine": interference(first, second).overlap.cosine}


def judge(options: argparse.Namespace) -> Figures:
    """The verdict on a recipe of registered vectors."""
    from registry import Registry
    from workbench.recipes.resolving import resolve_recipe
    from workbench.sums.checking import verdict_of

    with Registry.open(options.home) as registry:
        verdict = verdict_of(registry, resolve_recipe(registry, options.recipe))
    return {"ok": verdict.ok, "findings": [finding.code for finding in verdict.findings]}


def judge_headers(options: argparse.Namespace) -> Figures:
    """What the headers tell of a recipe of paths, without a registry."""
    from arithmetic import check_headers
    from workbench.recipes.resolving import resolve_recipe

    verdict = check_headers(resolve_recipe(None, options.recipe).combination)
    return {"ok": verdict.ok, "findings": [finding.code for finding in verdict.findings]}


WORKS: Mapping[str, Callable[[argparse.Namespace], Figures]] = {
    "compose": compose,
    "bake": bake,
    "interfere": interfere,
    "judge": judge,
    "judge-headers": judge_headers,
}


def _table(options: argparse.Namespace) -> Architecture:
    return architecture_of_folder(options.base, "sdxl") if options.base else architecture(options.architecture)


def _combination(text: str, options: argparse.Namespace) -> "Combination":
    from arithmetic import open_vector, parse
    from arithmetic.binding import bind

    table = _table(options)
    bound = bind(parse(text), {path.stem: open_vector(path, table) for path in options.inputs})
    if bound.combination is None:
        raise SystemExit(f"{text}: names no vector")
    return bound.combination


def _recipe(options: argparse.Namespace) -> str:
    terms = " + ".join(f"{w:g}*{path.stem}" for w, path in zip(options.weights, options.inputs, strict=True))
    stages = [f"rank({options.rank})"] if options.rank else []
    return " | ".join([terms, *stages, f"dtype({options.dtype})"])


if __name__ == "__main__":
    main()
