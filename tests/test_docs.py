"""The documentation's site: it builds, its links lead somewhere, and the commands of its pages work as written."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model.prepared import STAND_IN_NAME
from testing.servers import PROJECT, Server
from testing.terminal_pictures import CLIENT, add_classify

DOCS = PROJECT / "docs"
# The commands of these pages follow each other: test_charging.py and test_admin_page.py run them.
IN_ORDER = ("admin.md", "charging.md")
# Blocks that are run elsewhere, by what they begin with.
RUN_ELSEWHERE = {
    'git clone "$REPOSITORY"': "by CI, which clones the project, and by test_make_serve.py",
    "pip install ./client": "by test_client_package.py, which builds the wheel",
    "const stream = new WebSocket(": "for a browser: test_page_in_a_browser.py streams a camera in this way",
    "make serve HOST=0.0.0.0": "by test_make_serve.py, with an address of IPv6",
}


def blocks(kind: str) -> list[Any]:
    found = [
        pytest.param(block, id=f"{page.stem}-{number}")
        for page in sorted(DOCS.glob("*.md"))
        for number, block in enumerate(re.findall(rf"```{kind}\n(.*?)```", page.read_text("utf-8"), re.DOTALL), 1)
        if page.name not in IN_ORDER and not block.startswith(tuple(RUN_ELSEWHERE))
    ]
    assert found, kind
    return found


@pytest.fixture
def run(server: Server, new_user: Callable[..., dict[str, Any]], tmp_path: Path) -> Callable[[list[str], str], str]:
    """Runs the text of a block with an interpreter, as a user with a key does, in a folder like the checkout."""
    user = new_user("--limit", "1000/minute", "--scope", "classify", "--scope", "usage", "--scope", "keys")
    key, friend = user["key"], f"ada-{user['key_id'].lower()}@example.org"
    for name in ("examples", ".venv"):
        (tmp_path / name).symlink_to(PROJECT / name)
    add_classify(tmp_path)
    environment = {**server.environment, "KEY": key, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    environment |= {"PYTHONPATH": f"{PROJECT}:{CLIENT}"}

    def run_block(interpreter: list[str], text: str) -> str:
        text = re.sub(r"(localhost|127\.0\.0\.1):3000", f"127.0.0.1:{server.port}", text)
        text = text.replace("imc_...", key).replace("ada@example.org", friend)
        done = subprocess.run(
            [*interpreter, text], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run_block


@pytest.mark.parametrize("block", blocks("sh"))
def test_every_command_works(run: Callable[[list[str], str], str], block: str) -> None:
    if "auth show ada" in block or "auth usage ada" in block:
        run(["sh", "-eu", "-c"], ".venv/bin/python -m auth create --email ada@example.org")
    printed = run(["sh", "-eu", "-c"], block)
    assert printed or block.startswith("export "), "it says nothing"
    assert '"type": "about:blank"' not in printed, printed
    if "/classify" in block or "classify examples/" in block:
        assert re.search(r'"label": ?"espresso"|^espresso ', printed, re.MULTILINE)


@pytest.mark.parametrize("block", blocks("python"))
def test_every_program_works(run: Callable[[list[str], str], str], block: str) -> None:
    served = block.replace("microsoft/resnet-18", STAND_IN_NAME)
    assert "espresso" in run([str(PROJECT / ".venv" / "bin" / "python"), "-c"], served)


@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")
@pytest.mark.parametrize("block", blocks("js"))
def test_every_program_for_node_works(run: Callable[[list[str], str], str], block: str) -> None:
    assert run(["node", "--input-type=module", "-e"], block) == "espresso\n"


def test_what_is_run_elsewhere_is_still_there() -> None:
    pages = "".join(page.read_text("utf-8") for page in DOCS.glob("*.md"))
    assert [one for one in RUN_ELSEWHERE if not re.search(rf"```(sh|js)\n{re.escape(one)}", pages)] == []


def test_the_site_builds_and_asks_no_other_host(tmp_path: Path) -> None:
    """mkdocs is strict: a link that leads nowhere, or a page that is in no menu, ends it."""
    mkdocs = [str(PROJECT / ".venv" / "bin" / "mkdocs"), "build", "--site-dir", str(tmp_path)]
    done = subprocess.run(
        [*mkdocs, "--config-file", str(PROJECT / "configs" / "mkdocs.yml")],
        cwd=PROJECT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "not included in the" not in done.stderr, done.stderr
    page = (tmp_path / "quickstart.html").read_text("utf-8")
    assert "Make a key for a friend" in page
    for page_file in tmp_path.glob("*.html"):
        loaded = re.findall(r"<(?:script|img|link)[^>]+(?:src|href)=\"(https?:[^\"]+)", page_file.read_text("utf-8"))
        assert loaded == [], page_file.name
