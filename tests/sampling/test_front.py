"""The package's public names: sorted, all there, and loaded only when used."""

import subprocess
import sys

import pytest

import sampling


def test_every_public_name_exists_in_sorted_order():
    constants_classes_functions = sorted(
        sampling.__all__, key=lambda name: (not name.isupper(), not name[0].isupper(), name)
    )
    assert sampling.__all__ == constants_classes_functions
    for name in sampling.__all__:
        assert getattr(sampling, name).__class__


def test_a_name_that_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'pant'"):
        _ = sampling.pant


def test_reading_a_record_and_saying_how_to_paint_load_no_torch():
    names = "sampling.read_png, sampling.contact_sheet, sampling.SOLVERS, sampling.Settings('ddim', 4, 2.0)"
    code = f"import sys, sampling; {names}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
