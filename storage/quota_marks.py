"""The marks of a quota, 80 and 100 %, and the messages that wait to see whether a user reaches one.

It is known only after the answers whether a mark is reached, but the images are counted when a request is admitted. So
an admission adds a message that waits, if the images under way may reach a mark. `quota_messages.py` decides about it
later. An admission far from a mark needs no further statement, nor does a usage row.
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
    """Return the smallest number of answered images that is at least this percentage of the quota."""
    return -(-quota.images * percent // 100)


def is_near(quota: Quota, remaining: int) -> bool:
    """Return whether a quota with this many images left has reached its first mark."""
    return (quota.images - remaining) * 100 >= quota.images * PERCENTS[0]


def identifier(user_id: str, quota: Quota, percent: int, period: Period) -> str:
    """Return the identifier of the message about a mark: one for each user, quota, percentage and period."""
    day = datetime.fromtimestamp(period.start_s, UTC).strftime("%Y%m%d")
    return f"quota_{user_id}_{quota.images}-{quota.period}_{percent}_{day}"


def in_reach(user_id: str, quota: Quota, answered: int, used: int, at_us: int) -> list[NewMessage]:
    """Return messages for the marks that are not reached yet, but that the images under way may reach.

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
