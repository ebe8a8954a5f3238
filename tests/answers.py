"""What every error of the service looks like, whoever made it."""

from pathlib import Path
from typing import Any

import httpx

# The folder in which the tests run, which no caller should learn.
_PROJECT = str(Path(__file__).parent.parent)


def assert_problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    """Check that the answer is a problem (RFC 9457) of that status; its body."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["status"] == status
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert problem["type"]
    assert problem["title"]
    assert problem["detail"].endswith(".")
    # Clients that show their user only the body of an error, such as BentoML's, read there how long to wait.
    assert str(problem.get("retry_after")) == str(answer.headers.get("retry-after"))
    assert status not in (429, 503) or problem["retry_after"] > 0
    for internal in ("Traceback", _PROJECT, "/tmp/", "site-packages", "Error("):
        assert internal not in answer.text
    return problem
