"""MLflow's side of benchmarks.mlflow_registry, run by the interpreter of an environment that has MLflow.

It imports nothing of ours: names, tags and questions come as JSON, times and answers go back as JSON.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient

PAGE = 50
SOURCE = "/library/weights.safetensors"


def main() -> None:
    """Load models for so many seconds, or ask questions; write what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["load", "ask"])
    parser.add_argument("--database", required=True)
    parser.add_argument("--given", type=Path, required=True, help="models, one JSON a line, or the questions")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    client = MlflowClient(tracking_uri=options.database, registry_uri=options.database)
    if options.what == "load":
        said: Any = load(client, options.given, options.seconds)
    else:
        said = ask(client, json.loads(options.given.read_text()), options.passes)
    options.out.write_text(json.dumps(said))


def load(client: MlflowClient, models: Path, seconds: float) -> dict[str, Any]:
    """As many models as `seconds` allow, each with one version, its tags and an alias."""
    began, loaded = time.perf_counter(), 0
    for model in _models(models):
        client.create_registered_model(model["name"])
        client.create_model_version(model["name"], SOURCE, tags=model["tags"])
        client.set_registered_model_alias(model["name"], model["alias"], "1")
        loaded += 1
        if time.perf_counter() - began > seconds:
            break
    return {"loaded": loaded, "seconds": time.perf_counter() - began, "version": mlflow.__version__}


def ask(client: MlflowClient, questions: dict[str, list[Any]], passes: int) -> dict[str, Any]:
    """Milliseconds, and those on a processor, of every question after one pass that is not counted; the answers."""
    found: dict[str, Any] = {}
    for name, said in questions.items():
        answers = [CLASSES[name](client, question) for question in said]
        found[name] = {
            "answers": answers,
            "times": [_milliseconds(CLASSES[name], client, question) for _ in range(passes) for question in said],
        }
    return found


def search_names(client: MlflowClient, word: str) -> list[str]:
    """The versions of models whose name has the word in it."""
    return [_ref(one) for one in client.search_model_versions(f"name LIKE '%{word}%'", max_results=PAGE)]


def search_tags(client: MlflowClient, tags: dict[str, str]) -> list[str]:
    """The versions that have all the tags."""
    said = " AND ".join(f"tags.{key} = '{value}'" for key, value in tags.items())
    return [_ref(one) for one in client.search_model_versions(said, max_results=PAGE)]


def get_version(client: MlflowClient, name: str) -> list[str]:
    """The first version of a model."""
    return [_ref(client.get_model_version(name, "1"))]


def get_alias(client: MlflowClient, said: list[str]) -> list[str]:
    """The version that an alias of a model means."""
    return [_ref(client.get_model_version_by_alias(*said))]


CLASSES: dict[str, Callable[[MlflowClient, Any], list[str]]] = {
    "name search": search_names,
    "two tags": search_tags,
    "get version": get_version,
    "get by alias": get_alias,
}


def _models(path: Path) -> Iterator[dict[str, Any]]:
    with path.open() as lines:
        yield from map(json.loads, lines)


def _ref(version: Any) -> str:
    return f"{version.name}:{version.version}"


def _milliseconds(ask: Callable[[MlflowClient, Any], object], client: MlflowClient, question: Any) -> list[float]:
    used, began = time.process_time(), time.perf_counter()
    ask(client, question)
    return [(time.perf_counter() - began) * 1e3, (time.process_time() - used) * 1e3]


if __name__ == "__main__":
    main()
