"""The base that predicts v is the shipped one but for its U-Net and its scheduler."""

import json
from pathlib import Path

from demo import base_folder, write_velocity_base


def test_the_base_that_predicts_v_shares_everything_but_its_network_and_scheduler(tmp_path: Path) -> None:
    folder = write_velocity_base(tmp_path / "shapes-v")
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    shipped = {path.relative_to(base_folder()).as_posix() for path in base_folder().rglob("*") if path.is_file()}
    assert {name for name in names if "training" not in name} == {name for name in shipped if "training" not in name}
    differing = {n for n in names & shipped if (folder / n).read_bytes() != (base_folder() / n).read_bytes()}
    assert differing == {"scheduler/scheduler_config.json", "unet/diffusion_pytorch_model.safetensors"}
    assert json.loads((folder / "scheduler/scheduler_config.json").read_text())["prediction_type"] == "v_prediction"


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    assert list(write_velocity_base(tmp_path / "mine").iterdir()) == []
