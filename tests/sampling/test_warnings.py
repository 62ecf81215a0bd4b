"""Third-party warnings: the named ones are silent, all others are heard, and no name outlives its warning."""

import logging
import warnings

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler

from sampling import KNOWN_WARNINGS, known_warnings_silenced
from sampling.warnings import KNOWN_MESSAGES

MODULE = "unet.mid_block.resnets.0.conv1"


def build_a_dpm_solver(_):
    DPMSolverMultistepScheduler(algorithm_type="dpmsolver", final_sigmas_type="sigma_min")


def set_timesteps(_):
    DPMSolverMultistepScheduler().set_timesteps(4)


def load_two_vectors(pipe):
    state = {f"{MODULE}.lora_A.weight": torch.ones(1, 128, 3, 3), f"{MODULE}.lora_B.weight": torch.ones(128, 1, 1, 1)}
    for name in ("first", "second"):
        pipe.load_lora_weights(dict(state), adapter_name=name)


def delete_the_active_vector(pipe):
    load_two_vectors(pipe)
    pipe.delete_adapters("second")


CAUSES = [build_a_dpm_solver, set_timesteps, load_two_vectors, delete_the_active_vector]


def test_each_known_warning_is_still_given_and_nothing_else(fresh_base):
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        for cause in CAUSES:
            fresh_base.unload_lora_weights()
            cause(fresh_base)
    given = {(type(entry.message), str(entry.message)) for entry in heard}
    assert len(given) >= len(KNOWN_WARNINGS)
    for known in KNOWN_WARNINGS:
        assert any(issubclass(kind, known.category) and known_begins(known, text) for kind, text in given), known


def known_begins(known, text):
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        warnings.filterwarnings("ignore", known.message)
        warnings.warn(text, stacklevel=1)
    return not heard


@pytest.mark.parametrize("cause", CAUSES)
def test_known_warnings_are_silenced(fresh_base, cause):
    with known_warnings_silenced():
        cause(fresh_base)


def test_other_warnings_are_heard():
    with pytest.raises(FutureWarning, match="something else"), known_warnings_silenced():
        warnings.warn("something else", FutureWarning, stacklevel=1)
    with pytest.raises(UserWarning, match="Already found"), known_warnings_silenced():
        warnings.warn("Already found a `peft_config` attribute in the model, says another library", stacklevel=1)


def test_silencing_ends_with_the_block():
    before = list(warnings.filters)
    with known_warnings_silenced():
        assert warnings.filters != before
    assert warnings.filters == before


def test_known_log_lines_are_kept_out_and_others_pass(fresh_base):
    lines = []
    listener = logging.Handler()
    listener.emit = lambda record: lines.append(record.getMessage())
    logging.getLogger("diffusers").addHandler(listener)
    try:
        with known_warnings_silenced():
            load_two_vectors(fresh_base)
        fresh_base.vae.to(torch.bfloat16)
        logging.getLogger("diffusers.loaders.lora_base").warning("something else")
    finally:
        logging.getLogger("diffusers").removeHandler(listener)
    assert lines == ["something else"]


def test_every_entry_says_why():
    for known in (*KNOWN_WARNINGS, *KNOWN_MESSAGES):
        assert known.reason.endswith(".")
        assert known.message
