"""The figures that the shapes base ships on: `python -m benchmarks.shapes_base --out docs/shapes-base.md`."""

import argparse
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from demo import ATTRIBUTES, base_folder, render, sample_scenes, tuning
from demo.renderer import sample_attributes
from sampling import load_judge, load_pipeline
from workbench.demo.evaluation import Contender, Examiner, Score, baselines, exam

GUIDANCES = (1.0, 2.0, 3.0, 5.0, 7.5)
NOISES = 1
UNGUIDED_AT_MOST, GUIDED_AT_LEAST, BASELINE_SHARE_AT_MOST, JUDGE_ABOVE = 0.4, 0.8, 0.75, 0.99
HELD_OUT = 4000


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("build/shapes-base"), help="kept rows")
    options = parser.parse_args()
    base = base_folder()
    examiner = Examiner(load_pipeline(base), load_judge(base), base=content(base), folder=options.work)
    w = float(tuning()["distillation"]["w"])
    measured = [measure(examiner, Contender("teacher", "ddim", 50, guidance)) for guidance in GUIDANCES]
    rivals = [measure(examiner, rival) for rival in baselines(4, w)]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    draw_curves(base / "training", options.out.parent / "shapes-base-training.png")
    page = write_page(w, measured, rivals, judge_accuracies(examiner), psnr(examiner))
    options.out.write_text("\n".join(page) + "\n")


def measure(examiner: Examiner, contender: Contender) -> Score:
    """Joint attribute accuracy of the base alone, 144 pictures."""
    score = examiner.examine(contender, exam(None, noises=NOISES, seed=0), style="flat", seed=0, strengths={})
    print(
        f"{contender.solver} {contender.steps} {contender.spacing} {contender.guidance:g}: {score.joint_accuracy:.3f}"
    )
    return score


def write_page(
    w: float, measured: Sequence[Score], rivals: Sequence[Score], judged: dict[str, dict[str, float]], decibels: float
) -> list[str]:
    """The page, with each gate met or not."""
    by_guidance = {score.contender.guidance: score.joint_accuracy for score in measured}
    best = max(rivals, key=lambda score: score.joint_accuracy)
    unguided, guided = by_guidance[1.0], by_guidance[w + 1]
    share, lowest = best.joint_accuracy / guided, min(judged["renderings"].values())
    gates = [
        ("DDIM-50 at guidance 1", f"{unguided:.3f}", f"at most {UNGUIDED_AT_MOST}", unguided <= UNGUIDED_AT_MOST),
        (f"DDIM-50 at guidance {w + 1:g}", f"{guided:.3f}", f"at least {GUIDED_AT_LEAST}", guided >= GUIDED_AT_LEAST),
        (
            f"best baseline at 4 evaluations ({how(best)}), as a share of that",
            f"{best.joint_accuracy:.3f} = {share:.2f}",
            f"at most {BASELINE_SHARE_AT_MOST}",
            share <= BASELINE_SHARE_AT_MOST,
        ),
        ("judge, lowest head on held-out renderings", f"{lowest:.4f}", f"above {JUDGE_ABOVE}", lowest > JUDGE_ABOVE),
    ]
    heads = [*ATTRIBUTES, "style"]
    return [
        "# The shapes base",
        "",
        "`python -m benchmarks.shapes_base --out docs/shapes-base.md` wrote this page. The base is a Stable-Diffusion",
        "pipeline of 64 x 64 pictures, trained by `python -m demo.training` on 40 % wrong and 10 % empty captions, so",
        "that it needs guidance. Joint: shape, colour, background and size all right on one picture, of 144.",
        "",
        "| what it ships on | measured | wanted | |",
        "|---|---|---|---|",
        *(f"| {name} | {value} | {wanted} | {'met' if met else '**not met**'} |" for name, value, wanted, met in gates),
        "",
        "| guidance, DDIM-50 | " + " | ".join(f"{guidance:g}" for guidance in by_guidance) + " |",
        "|---" * (len(by_guidance) + 1) + "|",
        "| joint accuracy | " + " | ".join(f"{value:.3f}" for value in by_guidance.values()) + " |",
        "",
        f"The judge on {HELD_OUT} held-out renderings of every style, and on the same through the VAE:",
        "",
        "| | " + " | ".join(heads) + " |",
        "|---" * (len(heads) + 1) + "|",
        *(f"| {name} | " + " | ".join(f"{row[head]:.4f}" for head in heads) + " |" for name, row in judged.items()),
        "",
        f"The VAE reconstructs renderings of every style at {decibels:.1f} dB PSNR.",
        "",
        "![training losses](shapes-base-training.png)",
    ]


def how(score: Score) -> str:
    """A baseline's setting in words."""
    contender = score.contender
    return f"{contender.solver}, {contender.spacing}, guidance {contender.guidance:g}"


def held_out() -> tuple[list[Image.Image], list[dict[str, str]]]:
    """Renderings of every style that no training saw, and what they show."""
    rng = np.random.default_rng([0, 123_456_789])
    scenes = sample_scenes(rng, sample_attributes(rng, HELD_OUT), None)
    images = [Image.fromarray(np.round(render(scene) * 255).astype(np.uint8)) for scene in scenes]
    return images, [{**scene.attributes._asdict(), "style": scene.style} for scene in scenes]


def judge_accuracies(examiner: Examiner) -> dict[str, dict[str, float]]:
    """Accuracy of each head, on renderings and on renderings through the VAE."""
    images, truths = held_out()
    shown = {"renderings": images, "through the VAE": reconstructed(examiner, images)}
    heads = [*ATTRIBUTES, "style"]
    return {
        name: {
            head: float(np.mean([r[head] == t[head] for r, t in zip(readings, truths, strict=True)])) for head in heads
        }
        for name, readings in ((name, examiner.judge.read(pictures)) for name, pictures in shown.items())
    }


@torch.no_grad()
def reconstructed(examiner: Examiner, images: Sequence[Image.Image]) -> list[Image.Image]:
    """`images` through the VAE and back."""
    vae, found = examiner.pipe.vae, []
    for start in range(0, len(images), 100):
        part = examiner.pipe.image_processor.preprocess(list(images[start : start + 100]))
        decoded = vae.decode(vae.encode(part).latent_dist.mean, return_dict=False)[0]
        found += examiner.pipe.image_processor.postprocess(decoded, output_type="pil")
    return found


def psnr(examiner: Examiner) -> float:
    """PSNR in dB over 1,000 held-out renderings."""
    images = held_out()[0][:1000]
    again = reconstructed(examiner, images)
    errors = [np.mean((np.asarray(a, float) - np.asarray(b, float)) ** 2) for a, b in zip(images, again, strict=True)]
    return float(10 * np.log10(255**2 / np.mean(errors)))


def draw_curves(logs: Path, target: Path) -> None:
    """The three training losses, each on a logarithmic axis of its own."""
    width, height, margin = 300, 200, 34
    names = ("autoencoder", "diffusion", "judging")
    picture = Image.new("RGB", (width * len(names), height), "white")
    pen = ImageDraw.Draw(picture)
    for i, name in enumerate(names):
        rows = [json.loads(line) for line in (logs / f"{name}.jsonl").read_text().splitlines()]
        values = np.log10([row["loss"] for row in rows])
        low, span = values.min(), max(np.ptp(values), 1e-9)
        left, right, bottom = i * width + margin, (i + 1) * width - 10, height - margin
        xs = np.linspace(left, right, len(values))
        ys = bottom - (values - low) / span * (bottom - 30)
        pen.line(list(zip(xs, ys, strict=True)), fill="#0b6e75", width=2)
        pen.line([(left, 24), (left, bottom), (right, bottom)], fill="#9aa5b1")
        pen.text((left, 6), f"{name}: loss {rows[0]['loss']:.2g} to {rows[-1]['loss']:.2g}", fill="#1b1f24")
        pen.text((left, bottom + 8), f"{rows[-1]['step']} steps", fill="#59636e")
    picture.save(target)


def content(base: Path) -> str:
    """sha256 over the base's weight files."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(base.rglob("*.safetensors")))).hexdigest()


if __name__ == "__main__":
    main()
