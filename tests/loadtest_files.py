"""The files of load tests: bounds for a few seconds, and the verdict that a run has written."""

import json
from pathlib import Path
from typing import Any

BOUNDS = """
[default]
fewest_samples = 20
failed_share = 0
shed_share = 0
lag_p99_ms = {most_ms}
neighbour_ratio = {ratio}
latency = {{photo = {{p50_ms = {most_ms}}}, upload = {{p50_ms = {most_ms}}}}}
"""


def written(folder: Path) -> dict[str, Any]:
    verdict: dict[str, Any] = json.loads((folder / "verdict.json").read_text())
    return verdict
