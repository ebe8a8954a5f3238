"""Checks the URLs of the stores before anything connects.

Each error is one sentence, and quotes no part of the URL: a URL may contain a password, and a URL that can't be parsed
may contain it anywhere. The names of options are quoted if they are plain words.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from sqlalchemy import URL

_POSTGRESQL = "postgresql://"
_SQLITE = "sqlite:///"
_ESCAPED = "write / as %2F, @ as %40, : as %3A and # as %23 in a user or password"
_REDIS = ("redis://", "rediss://", "unix://")
_REDIS_FORM = "give a URL like redis://host:6379/0"


def database(url: str) -> str:
    """Check the URL of the database, and return it as SQLAlchemy expects it.

    Raises:
        ValueError: the URL can't be used. The message says why, without any part of the URL that may be secret.
    """
    url = url.strip()
    if url.startswith("postgres://"):
        url = _POSTGRESQL + url.removeprefix("postgres://")
    if url.startswith(_POSTGRESQL):
        _check_postgresql(url)
    elif url.startswith(_SQLITE):
        _check_sqlite(url)
    else:
        raise ValueError("give a URL like sqlite:///var/classifier.db or postgresql://user@host/database")
    return url


def postgresql(url: str) -> str:
    """Do the same as `database`, for a database that must be PostgreSQL.

    Raises:
        ValueError: the URL can't be used, or names another database.
    """
    url = database(url)
    if not url.startswith(_POSTGRESQL):
        raise ValueError("give the URL of a PostgreSQL database, like postgresql://user@host/database")
    return url


def shown(url: str) -> str:
    """Return a checked URL of a database as people may read it, without user, password and options."""
    path = sqlite_path(url)
    if path is not None:
        return str(path.absolute())
    parsed = _parsed(url)
    host = parsed.host or ", ".join(_as_tuple(parsed.query.get("host", "this machine")))
    port = f":{parsed.port}" if parsed.port else ""
    return f"{parsed.database or 'the default database'} on {host}{port}"


def without_password(url: str) -> tuple[str, bool]:
    """Return a checked URL without its password, and whether it had one."""
    if sqlite_path(url) is not None:
        return url, False
    from sqlalchemy import URL

    parsed = _parsed(url)
    options = {name: value for name, value in parsed.query.items() if "password" not in name.lower()}
    has_password = parsed.password is not None or len(options) < len(parsed.query)
    # A URL object can't be set to no password: `set` ignores None.
    bare = URL.create(parsed.drivername, parsed.username, None, parsed.host, parsed.port, parsed.database, options)
    return bare.render_as_string(hide_password=False), has_password


def is_missing_file(url: str) -> bool:
    """Return whether a checked URL names a SQLite file that does not exist."""
    path = sqlite_path(url)
    if path is None:
        return False
    try:
        path.stat()
    except FileNotFoundError:
        return True
    except OSError:
        # Something else is wrong with the path: opening the database says what.
        return False
    return False


def sqlite_path(url: str) -> Path | None:
    """Return the path of the file of an SQLite database, as SQLAlchemy reads it from the URL; None for PostgreSQL."""
    return Path(unquote(url.removeprefix(_SQLITE))) if url.startswith(_SQLITE) else None


def _parsed(url: str) -> "URL":
    # Imported here, since a start with SQLite gets by without it in the process that starts the others.
    from sqlalchemy import make_url

    return make_url(url)


def _as_tuple(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


def redis(url: str | None) -> str | None:
    """Check the URL of Redis, and return it without surrounding spaces; None if there is no URL.

    Raises:
        ValueError: the URL can't be used. The message says why, without any part of the URL that may be secret.
    """
    url = (url or "").strip()
    if not url:
        return None
    if not url.startswith(_REDIS):
        raise ValueError(_REDIS_FORM)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(f"its port is no number from 1 to 65535, or its password is not escaped: {_ESCAPED}") from None
    if parts.fragment:
        raise ValueError(f"it contains a #: {_ESCAPED}")
    if parts.scheme == "unix":
        if not parts.path or parts.path == "/":
            raise ValueError("name a socket, like unix:///run/redis.sock")
    else:
        _check_host(parts.hostname, "Redis")
        if port == 0:
            raise ValueError("its port must be from 1 to 65535")
        if not re.fullmatch(r"(/\d{0,5})?", unquote(parts.path)):
            raise ValueError(f"the database of Redis is a number: {_REDIS_FORM}")
    _check_redis_options(url)
    return url


def _check_redis_options(url: str) -> None:
    # Imported here, since most processes have no Redis.
    from redis.asyncio import Redis

    try:
        # A connection object refuses unknown options when it is created, before it connects.
        Redis.from_url(url).connection_pool.make_connection()  # type: ignore[no-untyped-call]
    except (TypeError, ValueError, AttributeError):
        raise ValueError(f"it has an option that Redis does not know: {_REDIS_FORM}") from None
    except Exception as error:
        raise ValueError(f"it can't be used ({type(error).__name__}): {_REDIS_FORM}") from None


def _check_sqlite(url: str) -> None:
    name = unquote(url.removeprefix(_SQLITE))
    if not name or name == ":memory:" or name.startswith("file:"):
        raise ValueError(
            "name a file: sqlite:///var/classifier.db, or sqlite:////data/classifier.db for an absolute path"
        )
    if name.startswith(("~", "$")):
        raise ValueError("write the whole path, sqlite:////home/me/classifier.db: only a shell replaces ~ and $HOME")
    if "?" in url:
        raise ValueError("an SQLite database takes no options: remove the part after the ?")
    if "\0" in name:
        raise ValueError("name a file without control characters")


def _check_postgresql(url: str) -> None:
    if "," in urlsplit(url.replace("#", "%23")).netloc.rpartition("@")[2]:
        raise ValueError("name several hosts as postgresql://user@/database?host=one:5432&host=two:5432")
    try:
        parsed = _parsed(url)
    except ValueError:
        raise ValueError(f"its port is no number, or its password is not escaped: {_ESCAPED}") from None
    except Exception:
        raise ValueError("give a URL like postgresql://user:password@host:5432/database") from None
    if "host" not in parsed.query:
        _check_host(parsed.host, "PostgreSQL", optional=True)
    if parsed.port is not None and not 1 <= parsed.port <= 65535:
        raise ValueError("its port must be from 1 to 65535")
    if "#" in (parsed.database or ""):
        raise ValueError(f"it contains a #: {_ESCAPED}")
    _check_postgresql_options(parsed)


def _check_postgresql_options(parsed: "URL") -> None:
    # Imported here, since most processes have no PostgreSQL.
    from psycopg import ProgrammingError
    from psycopg.conninfo import make_conninfo

    for name in parsed.query:
        try:
            make_conninfo("", **{name: ""})
        except ProgrammingError:
            shown = name if re.fullmatch(r"\w{1,40}", name) else "one"
            hint = (
                "; a schema is chosen by ?options=-csearch_path%3Dname" if name in ("schema", "currentSchema") else ""
            )
            raise ValueError(f"PostgreSQL's connections have no option '{shown}'{hint}") from None


def _check_host(host: str | None, of: str, optional: bool = False) -> None:
    if not host:
        if optional:
            return
        raise ValueError(f"name the host of {of}")
    if not re.fullmatch(r"[A-Za-z0-9._\-:%]{1,255}", host):
        raise ValueError(f"name one host of {of}, by its name or address; {_ESCAPED}")
