"""Tells who makes a change. It asks the operating system, since anybody can set environment variables."""

import getpass
import os
from pathlib import Path

LOGIN = Path("/proc/self/loginuid")
# The value that Linux shows if nobody has logged in: in a container, or in a system service.
_NOBODY = 2**32 - 1


def actor(login: Path = LOGIN) -> str:
    """Return the name of the user that this process runs as. If another user logged in, name both: "ada as root".

    Args:
        login: the file in which Linux shows the id of the user who logged in. `su` and `sudo` do not change it.
    """
    if not hasattr(os, "getuid"):
        return _name_from_environment()
    user_id = os.getuid()
    login_id = _login_id(login)
    if login_id in (None, _NOBODY, user_id):
        return name(user_id)
    return f"{name(login_id)} as {name(user_id)}"


def name(user_id: int) -> str:
    """Return the user's name; "uid 10001" if it has none, as in a container."""
    # Imported here: not all systems have this module.
    import pwd

    try:
        return pwd.getpwuid(user_id).pw_name
    except (KeyError, OverflowError):
        return f"uid {user_id}"


def _login_id(login: Path) -> int | None:
    try:
        return int(login.read_text())
    except (OSError, ValueError):
        return None


def _name_from_environment() -> str:
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):
        return "unknown"
