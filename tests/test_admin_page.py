"""`docs/admin.md`: each command is run as it is written, and answered as the page says."""

import json
import os
import re
import subprocess
from typing import Any

from testing.servers import PROJECT, Server

PAGE = (PROJECT / "docs" / "admin.md").read_text("utf-8")
# A command, and the answer below it, if it has one.
BLOCKS = re.findall(r"```sh\n(.*?)```\n(?:\n```json\n(.*?)```)?", PAGE, re.DOTALL)
# What is different each time, and the day on which the page's examples happen.
VARIES, TODAY = {"user_id", "key_id", "key", "replaced_by", "id", "actor", "detail"}, "2026-11-28T"


def assert_alike(answered: Any, documented: Any, name: str = "") -> None:
    if name == "next_cursor":
        # Other tests make users, keys and plans at the same server.
        assert answered is None or isinstance(answered, str)
    elif name in VARIES or str(documented).startswith(TODAY):
        assert type(answered) is type(documented), name
    elif isinstance(documented, dict):
        assert list(answered) == list(documented)
        for key, value in documented.items():
            assert_alike(answered[key], value, key)
    elif isinstance(documented, list):
        assert len(answered) == len(documented), name
        for one, other in zip(answered, documented, strict=True):
            assert_alike(one, other, name)
    else:
        assert answered == documented, name


def test_every_command_of_the_page_is_answered_as_it_says(server: Server) -> None:
    [first] = re.findall(r"^\$ python -m auth create --email \S+ (.*)$", PAGE, re.MULTILINE)
    admin = server.create_key("operations@docs.example", *first.split())["key"]
    variables = {"ADMIN_KEY": admin}
    begin, *rest = BLOCKS
    begin = begin[0].replace("http://localhost:3000", server.url)
    assert len(rest) == len(re.findall(r"^curl ", PAGE, re.MULTILINE)) >= 12
    for command, documented in rest:
        script = f"{begin}\n{command}"
        done = subprocess.run(
            ["sh", "-eu", "-c", script],
            env=os.environ | variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        if not documented:
            assert done.stdout == "", command
            continue
        answered = json.loads(done.stdout)
        assert_alike(answered, json.loads(documented))
        if "disabled_at" in answered:
            variables["USER_ID"] = answered["user_id"]
        # The key that the page goes on with is the first one.
        if "key" in answered:
            variables.setdefault("KEY_ID", answered["key_id"])
