"""Remembers the keys that were valid recently, so that wrong keys from the same address never delay their owners."""

import time
from collections import OrderedDict
from collections.abc import Callable

from auth.api_key import ApiKey

MOST_KEYS = 10_000
REMEMBERED_S = 3600.0


class RecentlyValidKeys:
    """The keys that were valid most recently: the id of each, and the hash of its secret.

    A key here may have been revoked since; only the database tells whether it is still live.

    Args:
        clock_s: returns the time, seconds.
    """

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._keys: OrderedDict[str, tuple[str, float]] = OrderedDict()

    def contains(self, key: ApiKey) -> bool:
        """Return whether the key was valid within the last hour."""
        secret_sha256, valid_s = self._keys.get(key.key_id, ("", float("-inf")))
        return self._clock_s() - valid_s < REMEMBERED_S and key.matches(secret_sha256)

    def add(self, key_id: str, secret_sha256: str) -> None:
        """Note that the key is valid now."""
        self._keys[key_id] = secret_sha256, self._clock_s()
        self._keys.move_to_end(key_id)
        if len(self._keys) > MOST_KEYS:
            self._keys.popitem(last=False)

    def remove(self, key_id: str) -> None:
        """Note that the key is not valid any more."""
        self._keys.pop(key_id, None)
