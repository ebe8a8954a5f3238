"""Tells whether there is a first key already, and loads nothing of the command line for it."""

import sys

from configs.settings import SettingsError, load_settings
from storage import first_look, urls

KEPT = "The database is ready; its users and keys are kept."


def tell_if_kept() -> bool:
    """Say what `python -m auth init` says if there is a user already.

    Returns:
        False: nothing was said, and `init` is to be run.
    """
    try:
        url = load_settings().database_url
    except SettingsError:
        return False
    if not first_look.has_user(url):
        return False
    print(KEPT)
    print(f"(Database: {urls.shown(url)})", file=sys.stderr)
    return True
