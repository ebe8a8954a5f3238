"""The commands about users."""

from functools import partial

from auth.cli import reports
from auth.cli.actor import actor
from auth.cli.answer import Answer, Context, confirm
from storage import keys, rollup, user_changes, users
from storage.clock import MICROSECONDS, unix_us
from storage.policy import Limit
from storage.quotas import Quota
from storage.rollup import WIDTHS_S, Span
from storage.tally import Tally

BUCKETS_AT_ONCE = 1000


def set_limit(context: Context, *, user: str, limit: list[Limit]) -> Answer:
    """Replace the limits of a user."""
    changed = context.change_keys(lambda connection: user_changes.set_limits(connection, user, tuple(limit), actor()))
    limits = list(map(str, changed.limits))
    document = {"user_id": changed.user_id, "email": changed.email, "limits": limits}
    return Answer(document, f"The limits of {changed.email} are {reports.limits(limits, ', ')} now.")


def set_quota(context: Context, *, user: str, quota: list[Quota]) -> Answer:
    """Replace the quotas of a user. Without quotas of its own, a user has those of its plan."""
    changed = context.change_keys(lambda connection: user_changes.set_quotas(connection, user, tuple(quota), actor()))
    quotas = list(map(str, changed.quotas))
    document = {"user_id": changed.user_id, "email": changed.email, "quotas": quotas}
    has = f"The quotas of {changed.email} are {', '.join(quotas)}" if quotas else f"{changed.email} has no quota"
    return Answer(document, f"{has} now.")


def rename(context: Context, *, user: str, email: str) -> Answer:
    """Give a user another address. Keys, limits and usage stay."""
    before, after = context.database.change(lambda connection: user_changes.rename(connection, user, email, actor()))
    return Answer(reports.user(after), f"{before.email} is {after.email} now; keys, limits and usage stay.")


def disable(context: Context, *, user: str) -> Answer:
    """Refuse all keys of a user, until `enable`."""
    changed = context.change_keys(lambda connection: user_changes.disable(connection, user, unix_us(), actor()))
    text = f"{changed.email} is disabled: all keys are refused everywhere, until `enable`."
    return Answer(reports.user(changed), text)


def enable(context: Context, *, user: str) -> Answer:
    """Make the keys of a disabled user work again."""
    changed = context.change_keys(lambda connection: user_changes.enable(connection, user, actor()))
    text = f"{changed.email} is enabled: the keys that are neither revoked nor expired work again."
    return Answer(reports.user(changed), text)


def erase(context: Context, *, user: str, yes: bool) -> Answer:
    """Remove a user's address and keys for good. The usage log keeps the bare user id."""
    owner = context.database.ask(lambda connection: users.require_for_change(connection, user))
    number = len(context.database.ask(lambda connection: keys.of_user(connection, owner.user_id)))
    confirm(
        yes,
        lambda: (
            f"Erase {owner.email}? The address and {_keys(number)} are gone for good; the usage stays under"
            f" {owner.user_id}."
        ),
    )

    # By the id: somebody may have renamed the user while the operator was asked.
    erased, erased_keys = context.change_keys(
        lambda connection: user_changes.erase(connection, owner.user_id, unix_us(), actor())
    )
    text = (
        f"{owner.email} is erased: the address and {_keys(erased_keys)} are gone. The usage stays under"
        f" {erased.user_id}. Backups from before still hold the address."
    )
    return Answer({"user_id": erased.user_id, "state": "erased", "keys": erased_keys}, text)


def _keys(number: int) -> str:
    return "1 key" if number == 1 else f"{number} keys"


def usage(context: Context, *, user: str, since: int | None, until: int | None, bucket: str) -> Answer:
    """Show the usage of a user. `since` and `until` are in Unix seconds."""
    owner = context.database.ask(lambda connection: users.require(connection, user))
    tally = context.database.ask(lambda connection: rollup.totals(connection, owner.user_id))
    width_s = WIDTHS_S[bucket]
    first_s = (since or 0) // width_s * width_s
    to_s = until if until is not None else unix_us() // MICROSECONDS + 1
    found: list[tuple[int, Tally]] = []
    after: int | None = first_s
    while after is not None:
        span = Span(width_s, after, to_s, None, BUCKETS_AT_ONCE)
        page, after = context.database.ask(partial(rollup.buckets, user_id=owner.user_id, span=span))
        found += page
    whole = Span(width_s, first_s, to_s, None, BUCKETS_AT_ONCE)
    billed = context.database.ask(partial(rollup.total, user_id=owner.user_id, span=whole))
    document = reports.usage(owner, tally, bucket, found) | reports.usage_of_span(owner, since, until, billed)
    tables = (reports.usage_table(document),) if found else ()
    return Answer(document, reports.usage_text(document), tables)
