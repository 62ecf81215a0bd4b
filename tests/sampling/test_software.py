"""What decides a picture's last bits is said: software, kernels, threads, and how many were painted at once."""

from importlib.metadata import version

import torch

from sampling import paint
from sampling.software import machine, software, threads


def test_the_software_is_what_is_installed():
    assert software() == {name: version(name) for name in ("torch", "diffusers", "transformers", "peft")}
    assert software()["torch"] == torch.__version__


def test_threads_are_set_inside_and_set_back():
    before = torch.get_num_threads()
    with threads(before + 1):
        assert machine()["threads"] == before + 1
    assert machine()["threads"] == before
    assert machine()["kernels"] == torch.backends.cpu.get_cpu_capability()


def test_a_painting_says_how_many_were_painted_at_once(base):
    painted = paint(base, ["a"] * 5, seeds=range(5), solver="ddim", steps=1, guidance=1.0, batch=3)
    assert [painted.company(index) for index in range(5)] == [
        {"size": 3, "place": 0},
        {"size": 3, "place": 1},
        {"size": 3, "place": 2},
        {"size": 2, "place": 0},
        {"size": 2, "place": 1},
    ]
    assert painted.machine == {"device": "cpu", "precision": "float32", "tiles": False, **machine()}


def test_a_painting_says_that_its_vae_decoded_in_tiles(fresh_base):
    fresh_base.vae.enable_tiling()
    painted = paint(fresh_base, ["a"], seeds=[0], solver="ddim", steps=1, guidance=1.0)
    assert painted.machine["tiles"] is True
