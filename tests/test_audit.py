"""What `make audit` makes of what pip-audit found; the index of vulnerabilities is the outside world."""

import json
import subprocess
import sys

import pytest

from testing.servers import PROJECT

CLEAN = {"name": "numpy", "version": "2.4.6", "vulns": []}
BAD = {"name": "pillow", "version": "1.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1"]}]}
UNKNOWN = {"name": "rich", "skip_reason": "Dependency not found on PyPI"}


@pytest.mark.parametrize(
    ("found", "status", "said"),
    [
        ([CLEAN, UNKNOWN], 0, "1 packages asked for, 0 with known vulnerabilities, 1 unknown there"),
        ([CLEAN, BAD], 1, "pillow 1.0: PYSEC-1 (fixed in 1.1)"),
        ([UNKNOWN, BAD], 1, "1 packages asked for, 1 with known vulnerabilities, 1 unknown there"),
    ],
)
def test_the_audit_tells_what_is_known_and_what_was_not_asked(
    found: list[dict[str, object]], status: int, said: str
) -> None:
    done = audit(json.dumps({"dependencies": found}))
    assert (done.returncode, done.stderr) == (status, "")
    assert said in done.stdout


@pytest.mark.parametrize(
    "given", [json.dumps({"dependencies": [UNKNOWN]}), '{"dependencies": []}', "{}", "", "no JSON"]
)
def test_an_audit_that_asked_nothing_does_not_pass_for_a_clean_one(given: str) -> None:
    done = audit(given)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("SKIPPED: ")


def audit(given: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PROJECT / "deploy" / "audit.py")]
    return subprocess.run(command, input=given, capture_output=True, text=True, check=False)
