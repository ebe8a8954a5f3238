"""Keys that were right lately, so that whoever has one is never held up by the wrong keys of others."""

import time
from collections import OrderedDict
from collections.abc import Callable

from auth.api_key import ApiKey

MOST_KEYS = 10_000
REMEMBERED_S = 3600.0


class RightKeys:
    """The latest keys that proved right: of each its id and the hash of its secret, never whether it is still live.

    Args:
        clock_s: the time, seconds.
    """

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._keys: OrderedDict[str, tuple[str, float]] = OrderedDict()

    def know(self, key: ApiKey) -> bool:
        """Whether the key was right within the last hour."""
        secret_sha256, right_s = self._keys.get(key.key_id, ("", float("-inf")))
        return self._clock_s() - right_s < REMEMBERED_S and key.matches(secret_sha256)

    def remember(self, key_id: str, secret_sha256: str) -> None:
        """Note that the key was right just now."""
        self._keys[key_id] = secret_sha256, self._clock_s()
        self._keys.move_to_end(key_id)
        if len(self._keys) > MOST_KEYS:
            self._keys.popitem(last=False)

    def forget(self, key_id: str) -> None:
        """Note that the key is not right any more."""
        self._keys.pop(key_id, None)
