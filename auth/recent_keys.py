"""Remembers the keys that were valid recently.

Wrong keys from the same address then never delay their owners, and `/metrics` answers while the database is away.
"""

import time
from collections import OrderedDict
from collections.abc import Callable

from auth.api_key import ApiKey
from storage.key_record import KeyRecord

MOST_KEYS = 10_000
REMEMBERED_S = 3600.0


class RecentlyValidKeys:
    """The keys that were valid most recently, as they were read.

    A key here may have been revoked since; only the database tells whether it is still live.

    Args:
        clock_s: returns the time, seconds.
    """

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._keys: OrderedDict[str, tuple[KeyRecord, float]] = OrderedDict()

    def find(self, key: ApiKey, within_s: float = REMEMBERED_S) -> KeyRecord | None:
        """Return what was stored of the key; None if it was not valid within that time, seconds."""
        record, valid_s = self._keys.get(key.key_id, (None, 0.0))
        if record is None or self._clock_s() - valid_s >= within_s or not key.matches(record.secret_sha256):
            return None
        return record

    def add(self, record: KeyRecord) -> None:
        """Note that the key is valid now."""
        self._keys[record.key_id] = record, self._clock_s()
        self._keys.move_to_end(record.key_id)
        if len(self._keys) > MOST_KEYS:
            self._keys.popitem(last=False)

    def remove(self, key_id: str) -> None:
        """Note that the key is not valid any more."""
        self._keys.pop(key_id, None)
