"""Which function runs which kind of job; a worker is handed this table."""

from collections.abc import Mapping
from typing import Final

JOB_KINDS: Final[Mapping[str, str]] = {
    "compose": "workbench.compose_jobs:run_composition",
    "demo": "workbench.demo_jobs:run_demo",
    "grid": "workbench.grid_jobs:paint_grid",
    "import": "workbench.import_jobs:run_import",
    "lcd": "workbench.training:distil_whole_base",
    "lcd-lora": "workbench.training:distil_acceleration",
    "lcf": "workbench.training:tune_consistency",
    "preflight": "workbench.preflight:run_preflight",
    "preview": "workbench.picture_jobs:paint_preview",
    "style": "workbench.training:train_style_vector",
}
"""Job kind -> "module:function"; the function takes a JobContext and returns the job's result."""
