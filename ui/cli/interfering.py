"""Commands on two vectors at once: interference."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ui.cli import output
from ui.cli.documents import plain
from ui.cli.interruption import asked_to_stop
from ui.cli.options import Device, Json, Memory, Quiet, Workers
from ui.cli.progress import counting
from ui.cli.session import registry_if_any

if TYPE_CHECKING:
    from arithmetic import AngleSummary, Containment, Overlap
    from workbench.sums.interfering import InterferenceReport

Vector = Annotated[str, typer.Argument(help="A vector: name, name:3, name@alias, sha256:... or a path.")]
Strength = Annotated[float, typer.Option(min=-100, max=100, help="At which it stands in the sum.")]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command()(interference)


def interference(
    context: typer.Context,
    a: Vector,
    b: Vector,
    strength_a: Strength = 1.0,
    strength_b: Strength = 1.0,
    device: Device = "cpu",
    workers: Workers = None,
    memory: Memory = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """How two vectors meet: norms, cosine, principal angles, a map by block, and a suggested strength.

    Everything is exact and comes from the weights alone; the suggestion is a rule of thumb, and says its reason.
    """
    from workbench.sums.interfering import interfere
    from workbench.sums.resources import resources

    with registry_if_any(context) as registry, counting("comparing", "modules") as count:
        report = interfere(
            registry,
            a,
            b,
            weights=(strength_a, strength_b),
            resources=resources(device, workers, memory),
            progress=count,
            cancelled=asked_to_stop,
        )
    if json:
        output.document("interference", interference_document(report))
    elif quiet:
        output.lines([_cosine(report.interference.overlap)])
    else:
        _print_report(report)


def interference_document(report: "InterferenceReport") -> dict[str, Any]:
    """The JSON of a report."""
    found = report.interference
    return {
        "a": found.a,
        "b": found.b,
        "strengths": list(found.weights),
        "overlap": _overlap(found.overlap),
        "norm_of_sum": found.norm_of_sum,
        "columns": plain(found.columns),
        "rows": plain(found.rows),
        "a_in_b": plain(found.a_in_b),
        "b_in_a": plain(found.b_in_a),
        "blocks": [
            {"block": one.block, "modules": one.modules, "shared": one.shared, **_overlap(one.overlap)}
            for one in found.blocks
        ],
        "modules": [{"module": one.module, "block": one.block, **_overlap(one.overlap)} for one in found.modules],
        "left_out": plain(found.left_out),
        "suggested": plain(report.suggested),
        "recommended": plain(report.recommended),
    }


def _overlap(overlap: "Overlap") -> dict[str, float | None]:
    return {"norm_a": overlap.norm_a, "norm_b": overlap.norm_b, "inner": overlap.inner, "cosine": overlap.cosine}


def _print_report(report: "InterferenceReport") -> None:
    found = report.interference
    weight_a, weight_b = found.weights
    output.fields(
        {
            "a": f"{found.a} at strength {weight_a:g}, norm {found.overlap.norm_a:.4g}",
            "b": f"{found.b} at strength {weight_b:g}, norm {found.overlap.norm_b:.4g}",
            "cosine": _cosine(found.overlap),
            "norm of the sum": f"{found.norm_of_sum:.4g}",
            "angles of outputs": _angles(found.columns),
            "angles of inputs": _angles(found.rows),
            "a within b": _inside(found.a_in_b),
            "b within a": _inside(found.b_in_a),
            "suggested": _suggested(report),
            "recommended": "; ".join(_recommended(one) for one in report.recommended if one.strength is not None)
            or None,
        }
    )
    output.rows(
        ("block", "modules", "both act in", "norm of a", "norm of b", "cosine", ""),
        [
            (
                one.block,
                str(one.modules),
                str(one.shared),
                f"{one.overlap.norm_a:.3g}",
                f"{one.overlap.norm_b:.3g}",
                _cosine(one.overlap),
                _bar(one.overlap.cosine),
            )
            for one in found.blocks
        ],
    )
    for left in found.left_out:
        output.hint(f"left out: {left.module}: {left.reason}")


def _cosine(overlap: "Overlap") -> str:
    return "-" if overlap.cosine is None else f"{overlap.cosine:+.4f}"


def _bar(cosine: float | None, width: int = 10) -> str:
    """The cosine's size as a bar: > where the two help each other, < where they oppose."""
    return "" if cosine is None else (">" if cosine > 0 else "<") * round(abs(cosine) * width)


def _angles(summary: "AngleSummary | None") -> str | None:
    if summary is None:
        return None
    smallest, median = f"{summary.smallest:.1f}", f"{summary.median_smallest:.1f}"
    return f"smallest {smallest}, median smallest {median}, mean {summary.mean:.1f} degrees"


def _inside(containment: "Containment | None") -> str | None:
    if containment is None:
        return None
    return (
        f"{containment.share:.2%} of its energy in the other's leading directions; by chance {containment.expected:.2%}"
    )


def _suggested(report: "InterferenceReport") -> str | None:
    suggested = report.suggested
    if suggested is None:
        return None
    return f"{suggested.vector} at {suggested.low:g} to {suggested.high:g}: {suggested.reason}"


def _recommended(one: Any) -> str:
    return f"{one.vector} at {one.strength:g}"
