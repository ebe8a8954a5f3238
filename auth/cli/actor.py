"""Who makes a change, by what the operating system knows: environment variables say whatever one likes."""

import getpass
import os
from pathlib import Path

LOGIN = Path("/proc/self/loginuid")
# What Linux says where nobody has logged in: in a container, or in a service of the machine's own.
_NOBODY = 2**32 - 1


def actor(login: Path = LOGIN) -> str:
    """The name of the user that this process runs as, and of who logged in where that is another: "ada as root".

    Args:
        login: where Linux tells the number of the user who logged in, which stays the same under `su` and `sudo`.
    """
    if not hasattr(os, "getuid"):
        return _claimed()
    user_id = os.getuid()
    login_id = _login_id(login)
    if login_id in (None, _NOBODY, user_id):
        return name(user_id)
    return f"{name(login_id)} as {name(user_id)}"


def name(user_id: int) -> str:
    """The user's name; "uid 10001" where it has none, as in a container."""
    # Not on every system.
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


def _claimed() -> str:
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):
        return "unknown"
