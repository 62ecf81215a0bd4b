"""The background worker's process: `python -m workbench.background`, in the registry that TAU_HOME names."""

from workbench.opening import open_registry
from workbench.workers import run_worker


def main() -> None:
    """Run the jobs that are queued, then end."""
    with open_registry() as registry:
        run_worker(registry, until_idle=True)


if __name__ == "__main__":
    main()
