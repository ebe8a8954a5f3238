"""What a container is allowed of a machine decides how many threads there are."""

import os
from pathlib import Path

import pytest

from runtime import machine


@pytest.mark.parametrize(
    ("told", "expected"), [("150000 100000", 2), ("50000 100000", 1), ("max 100000", None), ("nonsense", None)]
)
def test_a_containers_share_is_heeded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str, expected: int | None
) -> None:
    (tmp_path / "cpu.max").write_text(told + "\n")
    monkeypatch.setattr(machine, "_CGROUP_2", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    assert machine.cores() == (expected or 64)
