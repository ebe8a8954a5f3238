"""When each key was last used, to the minute, so that a key causes at most one write a minute."""

from collections.abc import Sequence

from sqlalchemy import BigInteger, BindParameter, bindparam, or_, update

from storage.models import api_keys
from storage.sqlite import Transaction

_MINUTE_US = 60_000_000

_key: BindParameter[str] = bindparam("key")
_minute: BindParameter[int] = bindparam("minute", type_=BigInteger)
_is_later = or_(api_keys.c.last_used_us.is_(None), api_keys.c.last_used_us < _minute)
_note = update(api_keys).where(api_keys.c.id == _key, _is_later).values(last_used_us=_minute)


def minute_of(at_us: int) -> int:
    """Return the start of the minute of a time, both Unix microseconds."""
    return at_us // _MINUTE_US * _MINUTE_US


def note(connection: Transaction, uses: Sequence[tuple[str, int]]) -> None:
    """Note uses: the id of the key and the time of each, Unix microseconds. A use in a noted minute writes nothing."""
    last: dict[str, int] = {}
    for key_id, at_us in uses:
        last[key_id] = max(minute_of(at_us), last.get(key_id, 0))
    # All replicas lock rows in the same order, which prevents a deadlock.
    connection.execute(_note, [{"key": key_id, "minute": last[key_id]} for key_id in sorted(last)])
