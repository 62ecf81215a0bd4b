"""Memory decides how a base is put on a device; the pictures stay the same but for the seams of tiles."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from arithmetic.sources.vector import open_vector
from formats import Layout, architecture_of_folder, factor_keys
from sampling import attach, configuration_of, detach, load_pipeline, paint, set_strengths, shipped_configuration
from sampling.devices import Device, container_limit, devices, find_device
from sampling.errors import TooLittleMemory, UnknownDevice
from sampling.footprints import footprint_of_file, footprint_of_folder
from sampling.memory import TILE, Footprint
from sampling.placement import MOST, RESERVE, Placement, Work, adjust, at_once, largest_size, placement

GIB = 1 << 30
CUDA = Device("cuda:0", "A GPU", 24 * GIB, 24 * GIB)
CPU = Device("cpu", "CPU", 24 * GIB, 24 * GIB)
MPS = Device("mps", "Apple GPU", 24 * GIB, 24 * GIB)
SDXL = Work(4, (1024, 1024), guided=True)


@pytest.fixture(scope="module")
def sdxl() -> Footprint:
    """The published SDXL in half precision: 2.57, 0.08 and 0.82 thousand million numbers."""
    documents = shipped_configuration("sdxl").documents
    weights = {"unet": 5_134_927_368, "vae": 334_615_452, "text_encoder": 246_121_728, "text_encoder_2": 1_389_319_680}
    return Footprint(weights, documents["unet"], documents["vae"], 2, 4, 126_484_480)


def test_a_large_gpu_holds_everything_and_paints_all_at_once(sdxl):
    chosen = placement(sdxl, SDXL, CUDA, 24 * GIB)
    assert (chosen.offload, chosen.tiling, chosen.batch) == ("none", False, 4)
    assert sum(sdxl.weights.values()) < chosen.needed_bytes < 16 * GIB


def test_less_memory_takes_the_next_way(sdxl):
    frees = (12, 11, 7, 5, 4)
    ways = [placement(sdxl, SDXL, CUDA, free * GIB) for free in frees]
    assert [way.offload for way in ways] == ["none", "model", "model", "sequential", "sequential"]
    assert [way.tiling for way in ways] == [False, False, False, False, True]
    assert all(way.needed_bytes + RESERVE <= free * GIB for way, free in zip(ways, frees, strict=True))


def test_where_nothing_can_wait_elsewhere_large_pictures_are_cut_into_tiles(sdxl):
    assert [placement(sdxl, SDXL, CPU, free * GIB).tiling for free in (12, 10)] == [False, True]


def test_the_most_pictures_that_fit_are_painted_at_once(sdxl):
    many = Work(100, (1024, 1024), guided=True)
    batches = [placement(sdxl, many, CUDA, free * GIB).batch for free in (12, 14, 16, 20, 800)]
    assert batches == sorted(batches)
    assert batches[0] < batches[-1] == MOST


def test_guidance_and_pixels_take_memory(sdxl):
    def needs(work):
        return placement(sdxl, work, CUDA, 800 * GIB).needed_bytes

    wide = Work(40, (1024, 1536), guided=False)
    assert needs(Work(40, (1024, 1024), guided=False)) < needs(wide) < needs(Work(40, (1024, 1536), guided=True))


def test_what_is_offloaded_on_a_gpu_is_refused_where_memory_is_one(sdxl):
    assert placement(sdxl, SDXL, CUDA, 5 * GIB).offload == "sequential"
    for device in (CPU, MPS):
        with pytest.raises(TooLittleMemory, match=f"on {device.name} .*5.0 GiB of 24.0 GiB are free"):
            placement(sdxl, SDXL, device, 5 * GIB)


def test_attention_as_a_whole_takes_more(sdxl):
    def needs(device):
        return placement(sdxl, Work(1, (2048, 2048), guided=False), device, 800 * GIB).needed_bytes

    assert needs(MPS) > 1.5 * needs(CPU)


def test_a_refusal_says_which_size_would_fit(sdxl):
    huge = Work(1, (4096, 4096), guided=True)
    with pytest.raises(TooLittleMemory, match=r"(\d+)x\1 pixels would fit.*--width, --height.*--device") as refused:
        placement(sdxl, huge, CPU, 12 * GIB)
    side = largest_size(sdxl, huge, CPU, 12 * GIB)
    assert f"{side}x{side} pixels" in str(refused.value)
    placement(sdxl, Work(1, (side, side), guided=True), CPU, 12 * GIB)
    with pytest.raises(TooLittleMemory):
        placement(sdxl, Work(1, (side + 64, side + 64), guided=True), CPU, 12 * GIB)
    with pytest.raises(TooLittleMemory, match="not even the smallest picture fits there"):
        placement(sdxl, huge, CPU, GIB)


def test_small_pictures_are_not_cut_into_tiles(sdxl):
    small = Work(1, (TILE, TILE), guided=False)
    assert not any(placement(sdxl, small, CUDA, free * GIB).tiling for free in (3, 5, 7, 9, 24))


@pytest.fixture(scope="module", params=["pipeline_folder", "sdxl_folder"])
def folder(request):
    return request.getfixturevalue(request.param)


def test_a_footprint_counts_every_weight_of_a_folder_and_of_a_file(folder, write_checkpoint, tmp_path):
    pipe = load_pipeline(folder)
    whole = footprint_of_folder(folder, 4)
    parts = {"unet": pipe.unet, "vae": pipe.vae, "text_encoder": pipe.text_encoder}
    for name, network in parts.items():
        assert whole.weights[name] == 4 * sum(p.numel() for p in network.parameters())
    file = footprint_of_file(write_checkpoint(folder, tmp_path / "one.safetensors"), configuration_of(folder, "x"), 4)
    assert sum(file.weights.values()) == sum(whole.weights.values())
    assert whole.largest_module == file.largest_module


def test_a_vae_that_overflows_counts_in_single_precision(sdxl_folder, pipeline_folder):
    single, half = (footprint_of_folder(sdxl_folder, size) for size in (4, 2))
    assert half.weights["unet"] * 2 == single.weights["unet"]
    assert half.weights["vae"] == single.weights["vae"]
    assert footprint_of_folder(pipeline_folder, 2).vae_itemsize == 2


HOW = {"solver": "ddim", "steps": 2, "guidance": 3.0, "seeds": [1, 2]}
PROMPTS = ["a large red circle", "a small blue cross"]


def pictures(pipe):
    return np.stack([np.asarray(image).astype(int) for image in paint(pipe, PROMPTS, **HOW).images])


@pytest.mark.parametrize("offload", ["model", "sequential"])
def test_what_waits_elsewhere_paints_the_same_picture(folder, offload):
    waiting = load_pipeline(folder, chosen=Placement(offload))
    assert np.array_equal(pictures(waiting), pictures(load_pipeline(folder)))


def test_a_vector_finds_layers_that_wait_elsewhere(folder, tmp_path):
    waiting, whole = load_pipeline(folder, chosen=Placement("sequential")), load_pipeline(folder)
    vector = random_vector(folder, tmp_path / "vector.safetensors")
    before = pictures(whole)
    for pipe in (waiting, whole):
        attach(pipe, {"v": vector})
        set_strengths(pipe, {"v": 0.7})
    assert np.array_equal(pictures(waiting), pictures(whole))
    assert not np.array_equal(pictures(whole), before)
    detach(waiting)
    assert np.array_equal(pictures(waiting), before)


def random_vector(folder, path):
    """Of rank 2, on some modules of the U-Net and of the text encoder."""
    table, generator, state = architecture_of_folder(folder, "tiny"), torch.Generator().manual_seed(1), {}
    for module, spec in table.modules.items():
        if module.endswith(("to_q", "to_v", "q_proj")):
            keys, (out, inside) = factor_keys(Layout.DIFFUSERS, module, table), spec.shape
            state[keys.up] = torch.randn(out, 2, generator=generator)
            state[keys.down] = 0.3 * torch.randn(2, inside, generator=generator)
    save_file(state, path)
    return open_vector(path, table, name="v")


@pytest.mark.parametrize(("offload", "hook"), [("model", "_hf_hook"), ("sequential", "_diffusers_hook")])
def test_networks_wait_for_their_turn(pipeline_folder, offload, hook):
    unet = load_pipeline(pipeline_folder, chosen=Placement(offload)).unet
    assert hasattr(unet if offload == "model" else unet.conv_in, hook)
    assert not hasattr(load_pipeline(pipeline_folder).unet, hook)


def test_tiles_are_told_to_the_vae_and_taken_back(pipeline_folder):
    pipe = load_pipeline(pipeline_folder, chosen=Placement(tiling=True, batch=2))
    assert (pipe.vae.use_tiling, pipe.vae.tile_sample_min_size, at_once(pipe)) == (True, TILE, 2)
    adjust(pipe, Placement(batch=7))
    assert (pipe.vae.use_tiling, pipe.vae.use_slicing, at_once(pipe)) == (False, False, 7)


def test_so_many_are_painted_at_once_as_were_chosen(pipeline_folder):
    steps = []
    pipe = load_pipeline(pipeline_folder, chosen=Placement(batch=1))
    paint(pipe, PROMPTS, **HOW, on_step=lambda done, total: steps.append(total))
    assert steps == [4] * 4


def test_the_first_device_is_taken_and_an_unknown_one_is_refused():
    assert find_device() == devices()[0] or find_device().name == devices()[0].name
    assert find_device("cpu").dtype is torch.float32
    assert 0 < find_device("cpu").free_bytes <= find_device("cpu").total_bytes
    with pytest.raises(UnknownDevice, match=r"device 'cuda:99': this machine has .*cpu"):
        find_device("cuda:99")


def test_half_precision_is_for_gpus():
    assert [device.dtype for device in (CUDA, MPS, CPU)] == [torch.float16, torch.float16, torch.float32]


def test_a_container_limits_the_memory(tmp_path):
    assert container_limit(tmp_path) is None
    for name, content in {"max": "1000", "current": "600", "stat": "anon 500\ninactive_file 100\n"}.items():
        (tmp_path / f"memory.{name}").write_text(content)
    assert container_limit(tmp_path) == (500, 1000)
    (tmp_path / "memory.max").write_text("max\n")
    assert container_limit(tmp_path) is None
