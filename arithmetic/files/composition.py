"""Computes a sum and writes it: streamed to a temporary sibling, proved by reading it back, then renamed into place."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from arithmetic.certificate import Certificate, certificate_path, certify
from arithmetic.errors import OutputConflict
from arithmetic.files.blueprint import Blueprint, draw, peft_config
from arithmetic.files.concatenation import Parts, combine_channel, combine_parts
from arithmetic.files.provenance import file_metadata
from arithmetic.files.staging import publish, staging_folder
from arithmetic.files.stream import sync_folder, tensor_stream, write_text
from arithmetic.precision import Precision
from arithmetic.progress import Notify, Progress, watcher
from arithmetic.resources import DEFAULT_RESOURCES, Resources, in_order
from arithmetic.sources.combination import Combination, ModulePlan, inputs, plan
from arithmetic.verdict import Verdict, check
from formats import Layout
from formats.adapter_files import DIFFUSERS_WEIGHTS, PEFT_CONFIG, PEFT_WEIGHTS


def compose(
    combination: Combination,
    path: Path | str,
    *,
    layout: Layout = Layout.KOHYA,
    dtype: Precision | str = Precision.FP32,
    recipe: str,
    locked: str,
    metadata: Mapping[str, str] | None = None,
    verdict: Verdict | None = None,
    progress: Progress | None = None,
    cancelled: Callable[[], object] | None = None,
    resources: Resources = DEFAULT_RESOURCES,
) -> Certificate:
    """Write tau' = sum_i lambda_i tau_i to `path`, with PATH.certificate.json beside it.

    A PEFT output is a folder that PEFT and, through a second weight file of the same factors, diffusers load as it is.
    Whatever goes wrong, KeyboardInterrupt included, nothing is left behind and an earlier file at `path` is untouched.

    Args:
        combination: the sum.
        path: a file, or for PEFT a folder that does not exist yet.
        layout: kohya, kohya-sgm, diffusers, comfy or peft.
        dtype: fp32, fp16 or bf16.
        recipe: the canonical text, for the header.
        locked: the same with digests for names.
        metadata: more entries for the header.
        verdict: what `check` said of this very combination, layout and dtype, to spare reading the inputs once more.
        progress: called as the work goes on.
        cancelled: asked before each module; a true answer stops the work.
        resources: device, threads and memory.

    Raises:
        ValidationRefused: the verdict has an error.
        OutputConflict: `path` is an input, or a folder that exists.
        BoundExceeded: the file read back is not the sum.
        Cancelled: `cancelled` said so.
    """
    path, precision = Path(path), Precision(dtype)
    notify = watcher(progress, cancelled)
    _check_place(path, combination, layout)
    verdict = verdict or check(combination, layout=layout, dtype=precision, progress=notify("checking"))
    verdict.require()
    drawn = draw(plan(combination), layout, precision)
    header = file_metadata(
        combination, layout, rank=drawn.plan.largest_rank, recipe=recipe, locked=locked, extra=metadata or {}
    )
    with staging_folder(path) as stage:
        output, proof = stage / path.name, stage / "certificate"
        write(output, drawn, header, notify=notify("writing"), resources=resources)
        certificate = _certified(output, combination, layout, notify("certifying"), resources)
        write_text(proof, certificate.to_json())
        publish({proof: certificate_path(path), output: path})
    return certificate


def write(
    path: Path,
    drawn: Blueprint,
    header: Mapping[str, str],
    *,
    notify: Notify = lambda done, total: None,
    resources: Resources = DEFAULT_RESOURCES,
) -> None:
    """Compute what `drawn` plans and create `path` with it, for PEFT a folder; nothing proves it yet."""
    if drawn.layout is not Layout.PEFT:
        _write_file(path, drawn, header, notify, resources)
        return
    path.mkdir()
    ranks = _write_file(path / PEFT_WEIGHTS, drawn, header, notify, resources)
    _write_file(path / DIFFUSERS_WEIGHTS, replace(drawn, layout=Layout.DIFFUSERS), header, notify, resources)
    write_text(path / PEFT_CONFIG, peft_config(drawn, ranks))
    sync_folder(path)


def _write_file(
    path: Path, drawn: Blueprint, header: Mapping[str, str], notify: Notify, resources: Resources
) -> dict[str, int]:
    """Write one weight file; the rank of each module in it."""
    modules, ranks = drawn.plan.modules, dict[str, int]()
    compute = partial(_computed, drawn, resources.device)
    with tensor_stream(path, drawn.slots(), {**drawn.widest_metadata(), **header}) as stream:
        for key, alpha in drawn.alpha_tensors().items():
            stream.write(key, alpha)
        computed = in_order(compute, modules, resources, _bytes_of)
        for done, (module, made) in enumerate(zip(modules, computed, strict=True)):
            notify(done, len(modules))
            if isinstance(made, Parts):
                stream.write(drawn.keys[module.module].down, *made.downs)
                stream.write(drawn.keys[module.module].up, made.up)
                ranks[module.module] = made.up.shape[1]
            else:
                stream.write(drawn.channel_key(module.module), made)
        stream.metadata = {**drawn.metadata(ranks), **header}
        notify(len(modules), len(modules))
    return ranks


def _computed(drawn: Blueprint, device: str, module: ModulePlan) -> Parts | Tensor:
    """One module's factors, or the numbers of a bias or normalisation."""
    if module.is_channel:
        return combine_channel(module, drawn.precision)
    return combine_parts(module, drawn.precision, alpha=drawn.alpha, device=device)


def _bytes_of(module: ModulePlan) -> int:
    """What a module takes at most while it is computed: its factors in float64, twice."""
    shape = module.spec.shape
    return 2 * torch.float64.itemsize * (module.rank or min(shape)) * (shape[0] + math.prod(shape[1:]))


def _certified(
    output: Path, combination: Combination, layout: Layout, notify: Notify, resources: Resources
) -> Certificate:
    """Of a PEFT folder both weight files are proved; the certificate is PEFT's own file's."""
    certificate = certify(output, combination, layout=layout, progress=notify, resources=resources)
    if layout is Layout.PEFT:
        certify(output / DIFFUSERS_WEIGHTS, combination, progress=notify, resources=resources)
    return certificate


def _check_place(path: Path, combination: Combination, layout: Layout) -> None:
    if path.resolve() in {source.path.resolve() for _, source in inputs(combination)}:
        raise OutputConflict(f"{path}: is an input of the sum. Write somewhere else.")
    if path.is_dir() or (layout is Layout.PEFT and path.exists()):
        raise OutputConflict(f"{path}: exists. A folder is never replaced: remove it or write somewhere else.")
