"""The routes with which operators read the usage of every user, and the audit log."""

from starlette.requests import Request

from api.admin.schemas import AllTime, AuditEntry, AuditLog, AuditQuery, UserUsage, UserUsageQuery
from api.json_route import JsonRoute, read_query
from api.key_routes import utc
from api.usage_reads import cost, counted
from storage import listings, users
from storage.errors import Refused
from storage.listings import NumberedEntry
from storage.store import Store
from web.problem import Problem


def routes(store: Store) -> list[JsonRoute]:
    """Return the routes of usage and of the audit log.

    Args:
        store: holds the usage log and the audit log.
    """

    async def user_usage(request: Request) -> UserUsage:
        """The requests of a user in buckets of time. `from` and `to` are in ISO 8601, in UTC if they name no zone."""
        query = read_query(request, UserUsageQuery)
        try:
            user = await store.ask(lambda connection: users.find(connection, query.user))
        except Refused as refused:
            raise Problem(409, str(refused)) from None
        if user is None:
            raise Problem(404, "There is no such user; GET /v2/admin/users lists all.")
        tally = await store.usage_totals(user.user_id)
        fields = await counted(store, user.user_id, user.currency, query)
        all_time = AllTime(
            requests=tally.requests,
            images=tally.images,
            billable_images=tally.billable if tally.requests else 0,
            cost=cost(tally.cost_nanos, user.currency),
        )
        return UserUsage(**fields, user_id=user.user_id, email=user.email, all_time=all_time)

    async def audit_log(request: Request) -> AuditLog:
        """All changes of users and keys, the oldest or the newest first, page by page: when, by whom, and what."""
        query = read_query(request, AuditQuery)
        found, after = await store.ask(
            lambda connection: listings.page_of_audit_log(
                connection, query.cursor, query.limit, newest_first=query.order == "newest"
            )
        )
        return AuditLog(data=[_described(one) for one in found], next_cursor=None if after is None else str(after))

    return [
        JsonRoute("/v2/admin/usage", user_usage, UserUsage, UserUsageQuery),
        JsonRoute("/v2/admin/audit", audit_log, AuditLog, AuditQuery),
    ]


def _described(numbered: NumberedEntry) -> AuditEntry:
    entry = numbered.entry
    return AuditEntry(
        id=numbered.number,
        at=utc(entry.at_us),
        actor=entry.actor,
        action=entry.action,
        user_id=entry.user_id,
        key_id=entry.key_id,
        detail=entry.detail,
    )
