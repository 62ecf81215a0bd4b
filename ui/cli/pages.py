"""Commands that show something to people: demo, ui."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from ui.cli import output
from ui.cli.narration import TerminalNarrator
from ui.cli.options import Json
from ui.cli.session import place_of

PORT = 8501
PLACES = ("TAU_HOME", "TAU_DATABASE_URL", "TAU_BLOB_URL")
"""What names a registry in the environment."""

STOP_SECONDS = 10.0
"""How long the pages' process may take to end before it is killed."""


def demo(
    context: typer.Context,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin again with an empty registry.")] = False,
    open_: Annotated[bool, typer.Option("--open", help="Open the workbench in the browser afterwards.")] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of everything that is random.")] = 0,
    home: Annotated[
        Path | None, typer.Option("--home", help="Of the demo's registry; default: demo/ in the data folder.")
    ] = None,
    json: Json = False,
) -> None:
    """The guided main job on the shipped shapes world: distil, compose, prove, paint, compare."""
    from workbench.demo.story import demo
    from workbench.opening import demo_home

    place = home or demo_home(place_of(context).home)
    with TerminalNarrator() as narrator:
        result = demo(narrator, home=place, fresh=fresh, seed=seed, command=_own_name())
    if json:
        output.document("demo", result.to_json())
    else:
        output.lines(("", "Go on with:", *(f"  {line}" for line in result.commands)))
    if open_:
        raise typer.Exit(_serve(place, None, port=PORT, open_browser=True))


def _own_name() -> str:
    """How the reader called this program, so that what is printed works pasted as it is."""
    called = Path(sys.argv[0])
    if called.name != "tau" or shutil.which("tau") == str(called.resolve()):
        return "tau"
    return os.path.relpath(called) if called.is_relative_to(Path.cwd()) else str(called)


def ui(
    context: typer.Context,
    demo: Annotated[bool, typer.Option("--demo", help="Show the demo's registry.")] = False,
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Of the pages' server.")] = PORT,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser window.")] = True,
) -> None:
    """Serve the workbench's pages to this machine alone, with workers for what they ask for; stop with Ctrl-C.

    A painter and a worker are started where none is alive, and stopped at the end; unfinished jobs are queued again.
    """
    from workbench.opening import demo_home

    place = place_of(context)
    home = demo_home(place.home) if demo else place.home
    raise typer.Exit(_serve(home, None if demo else place.database, port, browser))


def _environment(home: Path | None, database: str | None) -> dict[str, str]:
    """What the pages' process is told: this home, and no database or blobs that the environment has for another."""
    kept = {name: value for name, value in os.environ.items() if home is None or name not in PLACES}
    said = {"TAU_HOME": home, "TAU_DATABASE_URL": database}
    return kept | {name: str(value) for name, value in said.items() if value is not None}


def _serve(home: Path | None, database: str | None, port: int, open_browser: bool) -> int:
    """Run the pages' server, and workers beside it, until it ends or Ctrl-C; its exit code."""
    from ui.web.launch import command

    environment = _environment(home, database)
    output.hint(f"the workbench: http://127.0.0.1:{port}   (stop with Ctrl-C)")
    arguments = command(port=port, open_browser=open_browser and sys.stderr.isatty())
    server = subprocess.Popen(arguments, env=environment, stdout=sys.stderr)
    try:
        with _stopping_in_order(), _workers(home, database, environment):
            return server.wait()
    finally:
        _end(server)


@contextmanager
def _workers(home: Path | None, database: str | None, environment: Mapping[str, str]) -> Iterator[None]:
    """Inside, somebody paints and trains for this registry; where it cannot be opened, the pages say why."""
    from registry import RegistryError
    from workbench.jobs.workers import staffed
    from workbench.opening import open_registry

    try:
        registry = open_registry(home, database)
    except RegistryError as error:
        output.hint(f"no worker was started: {error}")
        yield
        return
    with registry, staffed(registry, environment) as started:
        for lane, worker in started.items():
            output.hint(f"started a worker for {lane} jobs (process {worker.pid}); its log: {worker.log}")
        yield


@contextmanager
def _stopping_in_order() -> Iterator[None]:
    """Inside, SIGTERM ends things as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(server: "subprocess.Popen[bytes]") -> None:
    """Ask the pages' server to end; kill it when it takes too long."""
    if server.poll() is not None:
        return
    server.terminate()
    try:
        server.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
