"""Finds the data folder: where the database lies by default, and where running servers record what they serve with.

It depends on where the code lies and on the environment, never on the current folder: the server, its workers and
`python -m auth` find the same one from any folder.
"""

import os
from pathlib import Path
from urllib.parse import quote

PROJECT = Path(__file__).resolve().parent.parent
_NAME = "image-classifier"
_DEFAULT_DATABASE = "sqlite:///var/classifier.db"
_SQLITE = "sqlite:///"


def is_checkout() -> bool:
    """Tell whether this code is a checkout of the project. Otherwise it is the copy in a Bento, in its folder `src`."""
    return not (PROJECT.parent / "bento.yaml").is_file()


def default() -> Path:
    """Return the data folder where `CLASSIFIER_DATA_DIR` is not set.

    Raises:
        ValueError: this is no checkout, and the user has no home.
    """
    if is_checkout():
        return PROJECT / "var"
    # XDG Base Directory Specification: a relative path is to be ignored.
    named = os.environ.get("XDG_DATA_HOME", "")
    try:
        base = Path(named) if Path(named).is_absolute() else Path.home() / ".local" / "share"
    except RuntimeError:
        raise ValueError("there is no home folder to keep the data in; name a folder for it") from None
    return base / _NAME


def absolute_database(url: str, data_dir: Path | None) -> str:
    """Make the path in the URL of an SQLite database absolute; other URLs stay as they are.

    Args:
        url: the URL, which `storage.urls.database` has checked. The default, `sqlite:///var/classifier.db`, is the file
            `classifier.db` in the data folder. Any other relative path begins at the checkout or, in a Bento, at the
            data folder.
        data_dir: the data folder, if it is set.

    Raises:
        ValueError: there is no data folder.
    """
    path = url.removeprefix(_SQLITE)
    if not url.startswith(_SQLITE) or path.startswith("/"):
        return url
    folder = data_dir or default()
    if url == _DEFAULT_DATABASE:
        path, base = "classifier.db", folder
    else:
        base = PROJECT if is_checkout() else folder
    return f"{_SQLITE}{quote(str(base))}/{path}"
