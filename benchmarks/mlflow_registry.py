"""Our registry beside MLflow's: `python -m benchmarks.mlflow_registry --mlflow-python VENV/bin/python`.

MLflow, in an environment of its own, loads as many models as it can in `--load-seconds`: each with a version, five tags
and an alias. The same names, tags and aliases are written into a registry of ours. Then both are asked, in process, on
SQLite, through their public clients, what both can answer: a part of a name, two tags, a version, an alias. Answers are
compared before times are: pages that are not full must hold the same versions.
"""

import argparse
import hashlib
import json
import os
import random
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.catalog import machine, summary
from benchmarks.catalog_rows import BATCH, COLUMNS, START, Rows, Vocabulary, load
from registry import Registry

PAGE = 50
ALIAS = "production"
CLIENT = Path(__file__).with_name("mlflow_client.py")
AIMS: Mapping[str, float] = {"name search": 10.0, "two tags": 10.0, "get version": 3.0, "get by alias": 3.0}
"""How many times faster we want to be, at the 95th percentile."""

Models = Sequence[Mapping[str, Any]]


def main() -> None:
    """Load both, ask both, compare the answers, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mlflow-python", required=True, help="the interpreter of an environment that has MLflow")
    parser.add_argument("--load-seconds", type=float, default=600.0)
    parser.add_argument("--models", type=int, default=200_000, help="at most")
    parser.add_argument("--questions", type=int, default=200, help="of each class")
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        document = compare(Path(folder), options)
    print_table(document)
    if options.out:
        options.out.write_text(json.dumps(document, indent=1) + "\n")


def compare(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The figures of both at equal size."""
    models = list(drawn_models(options.models, options.seed))
    given = folder / "models.jsonl"
    given.write_text("".join(json.dumps(model) + "\n" for model in models))
    loaded = _mlflow(folder, options, "load", given)
    del models[loaded["loaded"] :]
    questions = drawn_questions(models, options.questions, options.seed)
    (folder / "questions.json").write_text(json.dumps(questions))
    theirs = _mlflow(folder, options, "ask", folder / "questions.json")
    with Registry.open(folder / "home") as registry:
        load(registry.database.engine, Twin(models))
    with Registry.open(folder / "home") as registry:
        ours = ask(registry, questions, options.passes)
    return {
        "machine": machine(),
        "mlflow": loaded["version"],
        "models": len(models),
        "mlflow_models_per_second": round(loaded["loaded"] / loaded["seconds"], 1),
        "figures": {name: figures(theirs[name], ours[name], name) for name in questions},
    }


def drawn_models(count: int, seed: int) -> Iterator[dict[str, Any]]:
    """Names of two words and a number, tags as frequent as in the large catalog."""
    vocabulary, draw = Vocabulary(seed), random.Random(f"models {seed}")
    for number in range(count):
        name = "-".join([*vocabulary.draw(draw, 2), f"{number:x}"])
        yield {"name": name, "tags": dict(vocabulary.tags(draw)), "alias": ALIAS}


def drawn_questions(models: Models, count: int, seed: int) -> dict[str, list[Any]]:
    """`count` of every class, each about a model that is there."""
    draw = random.Random(f"questions {seed}")
    chosen = [draw.choice(models) for _ in range(count)]
    return {
        "name search": [draw.choice(model["name"].split("-")[:2]) for model in chosen],
        "two tags": [dict(draw.sample(sorted(model["tags"].items()), 2)) for model in chosen],
        "get version": [model["name"] for model in chosen],
        "get by alias": [[model["name"], model["alias"]] for model in chosen],
    }


def ask(registry: Registry, questions: Mapping[str, list[Any]], passes: int) -> dict[str, Any]:
    """Our answers and times, taken as MLflow's are."""
    classes: Mapping[str, Callable[[Any], list[str]]] = {
        "name search": lambda word: _refs(registry.search(f"*{word}*", limit=PAGE)),
        "two tags": lambda tags: _refs(registry.search(tags=tags, limit=PAGE)),
        "get version": lambda name: _refs([registry.get(f"{name}:1")]),
        "get by alias": lambda said: _refs([registry.get("@".join(said))]),
    }
    found = {}
    for name, said in questions.items():
        answers = [classes[name](question) for question in said]
        times = [_milliseconds(classes[name], question) for _ in range(passes) for question in said]
        found[name] = {"answers": answers, "times": times}
    return found


def figures(theirs: Mapping[str, Any], ours: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Both summaries and their ratios. Raises SystemExit where the answers differ."""
    for question, (one, other) in enumerate(zip(theirs["answers"], ours["answers"], strict=True)):
        is_full = len(one) == len(other) == PAGE
        if not is_full and sorted(one) != sorted(other):
            raise SystemExit(f"{name} {question}: MLflow found {sorted(one)[:5]}, we found {sorted(other)[:5]}")
    found: dict[str, Any] = {"aim": AIMS[name]}
    for place, clock in enumerate(("wall", "processor")):
        one, other = (summary([times[place] for times in side["times"]]) for side in (theirs, ours))
        ratios = {at: round(one[at] / max(other[at], 1e-3), 1) for at in ("p50", "p95")}
        found[clock] = {"mlflow": one, "ours": other, "ratio": ratios}
    return found


def print_table(document: Mapping[str, Any]) -> None:
    """The figures as a Markdown table."""
    print(f"{document['models']:,} models on SQLite, MLflow {document['mlflow']}, {document['machine']}")
    print(f"MLflow loaded {document['mlflow_models_per_second']} models a second\n")
    print("| question | MLflow p50 | p95 | ours p50 | p95 | times faster p50 | p95 | on the processor p95 | aim |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, figure in document["figures"].items():
        wall, used = figure["wall"], figure["processor"]
        times = (f"{wall[side][at]:.2f}" for side in ("mlflow", "ours") for at in ("p50", "p95"))
        ratios = (wall["ratio"]["p50"], wall["ratio"]["p95"], used["ratio"]["p95"], figure["aim"])
        print(f"| {name} | {' | '.join(times)} | {' | '.join(f'{ratio:g}x' for ratio in ratios)} |")


class Twin:
    """The rows of the models that MLflow has loaded."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def batches(self) -> Iterator[Rows]:
        """All rows, some models at a time."""
        for first in range(0, len(self._models), BATCH):
            rows: Rows = {table: [] for table in COLUMNS}
            for place, model in enumerate(self._models[first : first + BATCH]):
                self._add(rows, first + place + 1, model)
            yield rows

    @staticmethod
    def _add(rows: Rows, key: int, model: Mapping[str, Any]) -> None:
        at = (START + timedelta(seconds=key)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        digest, blob = (hashlib.sha256(f"{what} {key}".encode()).hexdigest() for what in ("version", "blob"))
        name = model["name"]
        rows["blob"].append((blob, 150_000_000 + key, digest, at, "present"))
        rows["model"].append((key, name, name, "other", "", None, "bench", 2, at, "{}", False))
        rows["version"].append((key, key, 1, digest, "published", "bench", None, None, "[]", "{}", at))
        rows["artifact"].append((key, "weights.safetensors", "weights", blob, "application/vnd.safetensors"))
        rows["origin"].append((key, "file", "/library/weights.safetensors", "{}"))
        rows["tag"] += [(key, *tag) for tag in model["tags"].items()]
        rows["alias_period"].append((key, key, key, model["alias"], at))


def _mlflow(folder: Path, options: argparse.Namespace, what: str, given: Path) -> dict[str, Any]:
    """What MLflow's side writes; it runs by itself, without our packages on its path."""
    out = folder / f"{what}.json"
    command = [options.mlflow_python, str(CLIENT), what, "--database", f"sqlite:///{folder / 'mlflow.db'}"]
    command += ["--given", str(given), "--seconds", str(options.load_seconds), "--passes", str(options.passes)]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    subprocess.run([*command, "--out", str(out)], check=True, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def _refs(versions: Sequence[Any]) -> list[str]:
    return [version.ref for version in versions]


def _milliseconds(ask: Callable[[Any], object], question: Any) -> list[float]:
    used, began = time.process_time(), time.perf_counter()
    ask(question)
    return [(time.perf_counter() - began) * 1e3, (time.process_time() - used) * 1e3]


if __name__ == "__main__":
    main()
