"""Which function runs which kind of job; a worker is handed this table."""

from collections.abc import Mapping
from typing import Final

JOB_KINDS: Final[Mapping[str, str]] = {
    "compose": "workbench.sums.jobs:run_composition",
    "demo": "workbench.demo.jobs:run_demo",
    "grid": "workbench.grids.jobs:paint_grid",
    "import": "workbench.intake.jobs:run_import",
    "lcd": "workbench.training.jobs:distil_whole_base",
    "lcd-lora": "workbench.training.jobs:distil_acceleration",
    "lcf": "workbench.training.jobs:tune_consistency",
    "preflight": "workbench.training.preflight:run_preflight",
    "preview": "workbench.painting.jobs:paint_preview",
    "style": "workbench.training.jobs:train_style_vector",
}
"""Job kind -> "module:function"; the function takes a JobContext and returns the job's result."""
