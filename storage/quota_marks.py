"""The marks of a quota, 80 and 100 %, and the messages that wait to see whether a user reaches one.

Whether a mark is reached is known once requests are answered. But the numbers are read when a request is admitted. So
the admission after which the images under way may reach a mark adds a message that waits. `quota_messages.py` decides
about it. An admission far from a mark, and every usage row, costs no statement more.
"""

import json
from datetime import UTC, datetime

from storage.outbox import NewMessage
from storage.quotas import Period, Quota

# Waits until it is known whether the mark is reached.
NEARING = "quota.nearing"
REACHED = "quota.reached"
# The lowest first.
PERCENTS = (80, 100)


def images_at(quota: Quota, percent: int) -> int:
    """Returns how many answered images are the first to be so many percent of the quota."""
    return -(-quota.images * percent // 100)


def is_near(quota: Quota, remaining: int) -> bool:
    """Returns whether a quota of which so many images are left has come to its first mark."""
    return (quota.images - remaining) * 100 >= quota.images * PERCENTS[0]


def identifier(user_id: str, quota: Quota, percent: int, period: Period) -> str:
    """Returns the identifier of the message that tells of a mark: one for each user, quota, percent and period."""
    day = datetime.fromtimestamp(period.start_s, UTC).strftime("%Y%m%d")
    return f"quota_{user_id}_{quota.images}-{quota.period}_{percent}_{day}"


def in_reach(user_id: str, quota: Quota, answered: int, used: int, at_us: int) -> list[NewMessage]:
    """Returns the messages of the marks that are not reached, and that the images under way may reach.

    Args:
        user_id: the user.
        quota: the quota.
        answered: the images that were answered in the period.
        used: the same, and those that are reserved.
        at_us: when the request arrived that was admitted just now, Unix microseconds.
    """
    found = []
    for percent in PERCENTS:
        images = images_at(quota, percent)
        if answered < images <= used:
            period = quota.period_at(at_us)
            payload = json.dumps({"quota": str(quota), "percent": percent})
            name = identifier(user_id, quota, percent, period)
            found.append(NewMessage(NEARING, name, user_id, period.start_s, images, payload, at_us))
    return found
