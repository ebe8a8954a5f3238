"""The database tables. Times are Unix times in microseconds, UTC, which have the same meaning on every database."""

from sqlalchemy import BigInteger, Column, Float, ForeignKey, Index, Integer, LargeBinary, MetaData, String, Table, Text

# Explicit names of constraints and indexes, so that a later migration can refer to them on every database.
metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite numbers rows automatically only in a column of the exact type INTEGER.
_serial = BigInteger().with_variant(Integer(), "sqlite")

users = Table(
    "users",
    metadata,
    Column("id", String(32), primary_key=True),
    # In lower case. The user's id, if the user is erased.
    Column("email", String(320), nullable=False, unique=True),
    Column("limits", String(500), nullable=False),
    Column("created_us", BigInteger, nullable=False),
    # How long hits are kept: the longest window that the user has ever had, at least a day (see `policy.kept_s`).
    Column("hits_kept_s", Integer, nullable=False, server_default="86400"),
    # Since when all keys of the user are refused.
    Column("disabled_us", BigInteger),
    # Whether `limits` override the limits of the user's plan: 0 if they are only the default ones.
    Column("has_own_limits", Integer, nullable=False, server_default="1"),
    # The quotas that override those of the plan; NULL: none.
    Column("quotas", String(100)),
    Column("plan", String(64)),
    # The currency of all that the user ever pays; NULL: no plan had a price yet.
    Column("currency", String(3)),
    # The customer that Stripe knows the user by; NULL: the user's images are not sent to Stripe.
    Column("stripe_customer", String(255)),
    # From which hour on they are sent, Unix seconds.
    Column("stripe_from_s", BigInteger),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("user_id", ForeignKey("users.id"), nullable=False, index=True),
    Column("secret_sha256", String(64), nullable=False),
    Column("scopes", String(100), nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("expires_us", BigInteger),
    Column("revoked_us", BigInteger),
    Column("name", String(100)),
    # To the minute.
    Column("last_used_us", BigInteger),
    # The key that took this one's place when it was rotated.
    Column("replaced_by", String(32)),
)

# Limits, quotas and prices that several users share. A plan is never deleted, since usage rows name it.
plans = Table(
    "plans",
    metadata,
    Column("name", String(64), primary_key=True),
    # NULL: the plan says nothing of limits.
    Column("limits", String(500)),
    Column("quotas", String(100)),
    Column("created_us", BigInteger, nullable=False),
)

# The prices of a plan, each in force from a time on until the next one. A row is never changed. `nanos` is the price of
# one image in billionths of the currency's unit, which is the price of 1,000 in millionths.
plan_prices = Table(
    "plan_prices",
    metadata,
    Column("plan", ForeignKey("plans.name"), primary_key=True),
    Column("from_us", BigInteger, primary_key=True, autoincrement=False),
    Column("nanos", BigInteger, nullable=False),
    Column("currency", String(3), nullable=False),
)

# What requests that are under way may take of their users' quotas (see `reservations.py`).
quota_reservations = Table(
    "quota_reservations",
    metadata,
    Column("request_id", String(64), primary_key=True),
    Column("user_id", ForeignKey("users.id"), nullable=False),
    Column("images", Integer, nullable=False),
    # When the request arrived.
    Column("at_us", BigInteger, nullable=False),
    Index("reservations_by_user", "user_id", "at_us"),
)

# The sliding-window log. `seq` numbers a user's hits without a gap. The number of hits in a window, and the hit that
# must leave it before the next request fits, are therefore one look-up each, however large the limit is.
hits = Table(
    "hits",
    metadata,
    Column("user_id", ForeignKey("users.id"), primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("at_us", BigInteger, nullable=False),
    Index("hits_by_time", "user_id", "at_us"),
)

# The usage log. Triggers refuse every change of a row, and every deletion except by `prune`. `images` is what the
# request cost the user's limit: 0 for everything except an admitted classification. `billable` is the number of images
# that were answered with predictions; NULL: unknown, the row is older than this column. Model, revision and plan are
# empty where there was none.
usage_log = Table(
    "usage_log",
    metadata,
    Column("id", _serial, primary_key=True),
    Column("request_id", String(64), nullable=False, unique=True),
    Column("user_id", ForeignKey("users.id"), nullable=False),
    Column("key_id", ForeignKey("api_keys.id"), nullable=False),
    Column("endpoint", String(200), nullable=False),
    Column("method", String(16), nullable=False),
    Column("status", Integer, nullable=False),
    Column("response_ms", Float, nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Column("images", Integer, nullable=False),
    Column("billable", Integer),
    Column("model", String(300), nullable=False, server_default=""),
    Column("revision", String(100), nullable=False, server_default=""),
    Column("plan", String(64), nullable=False, server_default=""),
    Index("usage_by_user", "user_id", "at_us"),
)

# Sums over the usage log, updated with each row: the same requests by minute, by hour, by day, and in total (`width_s`
# is 0). `bin` is the logarithmic bin of the response time (see `tally.py`), from which percentiles are computed. Rows
# of the width -86400 count the billable images of a day over all endpoints. `billable` is NULL where all requests are
# older than this column. `cost_nanos` is the sum of the prices that were in force, in billionths.
usage_rollup = Table(
    "usage_rollup",
    metadata,
    Column("user_id", ForeignKey("users.id"), primary_key=True),
    Column("width_s", Integer, primary_key=True, autoincrement=False),
    Column("start_s", BigInteger, primary_key=True, autoincrement=False),
    Column("endpoint", String(200), primary_key=True),
    Column("status", Integer, primary_key=True, autoincrement=False),
    Column("admitted", Integer, primary_key=True, autoincrement=False),
    Column("bin", Integer, primary_key=True, autoincrement=False),
    Column("requests", BigInteger, nullable=False),
    Column("images", BigInteger, nullable=False),
    Column("total_ms", Float, nullable=False),
    Column("billable", BigInteger),
    Column("cost_nanos", BigInteger, nullable=False, server_default="0"),
)

# Idempotency keys: those of requests under way, without a status, and those with the answer that is kept. A row is in
# force until `expires_us` (see `idempotency.py`).
idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("user_id", ForeignKey("users.id"), primary_key=True),
    Column("endpoint", String(200), primary_key=True),
    Column("key", String(255), primary_key=True),
    # The request that holds the key, or was answered, as in the usage log.
    Column("request_id", String(64), nullable=False),
    Column("expires_us", BigInteger, nullable=False, index=True),
    Column("fingerprint", String(64)),
    Column("status", Integer),
    Column("headers", Text),
    # Empty if the answer was too large to be kept.
    Column("body", LargeBinary),
)

# Messages to others (see `outbox.py`). By its `identifier` a receiver knows a message that it has received before.
# `period_s` is the start of the time that the message is about, Unix seconds, and `value` the number that it reports.
# `due_us` is when to send it, or to send it again; NULL: not any more.
outbox = Table(
    "outbox",
    metadata,
    Column("id", _serial, primary_key=True),
    Column("kind", String(32), nullable=False),
    Column("identifier", String(100), nullable=False, unique=True),
    Column("user_id", ForeignKey("users.id"), nullable=False),
    Column("period_s", BigInteger, nullable=False),
    Column("value", BigInteger, nullable=False),
    Column("payload", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("first_tried_us", BigInteger),
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("due_us", BigInteger),
    Column("delivered_us", BigInteger),
    # Why it was not delivered: of the last try, or, if it is not due any more, of all.
    Column("failure", Text),
    Index("outbox_by_due", "kind", "due_us"),
    Index("outbox_by_user", "user_id", "kind", "period_s"),
)

# When each scheduled command last succeeded. Alerts read it.
job_successes = Table(
    "job_successes",
    metadata,
    Column("command", String(32), primary_key=True),
    Column("at_us", BigInteger, nullable=False),
)

# The audit log: every change of users and keys. Triggers refuse to change or delete a row, except that `erase` removes
# the addresses of a user.
audit_log = Table(
    "audit_log",
    metadata,
    Column("id", _serial, primary_key=True),
    Column("at_us", BigInteger, nullable=False),
    Column("actor", String(100), nullable=False),
    Column("action", String(32), nullable=False),
    Column("user_id", String(32)),
    Column("key_id", String(32)),
    Column("detail", Text, nullable=False),
)
