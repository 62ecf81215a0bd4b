import pytest

from benchmarks.queue_soak import soak
from registry import Registry

pytestmark = pytest.mark.both_databases


def test_workers_killed_at_random_lose_no_job_and_register_none_twice(registry: Registry) -> None:
    found = soak(registry, jobs=40, workers=3, kills=6, seed=0)
    assert found.wrong == ()
    assert found.workers_killed == 6
    assert found.attempts >= 40
