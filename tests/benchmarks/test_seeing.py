"""The benchmarks of previews and of the catalog's page say what met its aim."""

from benchmarks import catalog_page, preview
from benchmarks.page import printed

TIMES = {
    "bare without vectors": [0.05],
    "bare": [0.2],
    "paint": [0.104],
    "forwards and decoding of the preview": [0.1],
    "diffusers afresh": [1.0],
}


def previewed(seconds: float, asked: float) -> str:
    figures = {"shapes": {**TIMES, "preview": [seconds], "request to picture": [asked, 0.2]}}
    return printed(
        preview.print_table, {"machine": "here", "libraries": {"torch": "2", "threads": 1}, "figures": figures}
    )


def test_a_preview_meets_its_aim_by_its_overhead_over_bare_forwards_and_the_slowest_request() -> None:
    assert "| 109 ms, +9.0% | 10% | met |" in previewed(0.109, 0.5)
    assert "| **111 ms, +11.0%** | 10% | **not met** |" in previewed(0.111, 0.5)
    assert "350 ms, at most 500 ms | 1 s | met |" in previewed(0.109, 0.5)
    assert "**625 ms, at most 1.05 s** | 1 s | **not met** |" in previewed(0.109, 1.05)


def test_the_catalog_page_meets_its_aim_by_the_95th_percentile() -> None:
    figures = {
        "open": {"p50": 400.0, "p95": 999.0, "max": 1500.0},
        "type": {"p50": 400.0, "p95": 1001.0, "max": 1002.0},
    }
    said = printed(catalog_page.print_table, {"machine": "here", "versions": 50_000, "runs": 40, "figures": figures})
    assert "| open | 400 ms, p95 999 ms, at most 1,500 ms | p95 1,000 ms | met |" in said
    assert "| type | **400 ms, p95 1,001 ms, at most 1,002 ms** | p95 1,000 ms | **not met** |" in said
