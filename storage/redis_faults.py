"""Translates errors of the Redis client into faults: one sentence for the operator, and one for callers."""

from redis import exceptions

from storage.faults import Fault

_SETTING = "CLASSIFIER_REDIS_URL"
_AWAY = "Redis, which counts the limits, is away; send the request again shortly."
_NOT_WRITABLE = "Redis, which counts the limits, accepts no changes at the moment; send the request again shortly."

UNREACHABLE = Fault(f"Redis can't be reached; check that it runs, and {_SETTING}.", _AWAY)
LOGIN = Fault(f"Redis refuses the user or the password, or requires one; check {_SETTING}.", _AWAY)
PERMISSION = Fault(
    "Redis' user may not run scripts on keys 'classifier:*'; allow it to (ACL SETUSER).",
    _NOT_WRITABLE,
    only_changes_fail=True,
)
READ_ONLY = Fault(
    f"This Redis is a replica that can only be read; give the primary in {_SETTING}.",
    _NOT_WRITABLE,
    only_changes_fail=True,
)
FULL = Fault("Redis is out of memory; raise its maxmemory.", _NOT_WRITABLE, only_changes_fail=True)
DISK = Fault(
    "Redis can't write to its disk, and therefore accepts no changes; check its log.",
    _NOT_WRITABLE,
    only_changes_fail=True,
)
LOADING = Fault("Redis is loading its data; wait for it.", _AWAY)
CLUSTER = Fault(f"This Redis belongs to a cluster, which is not supported; give a single Redis in {_SETTING}.", _AWAY)
FAILING = Fault("Redis answers with an error; check its log.", _NOT_WRITABLE, only_changes_fail=True)

_BY_CLASS = (
    (exceptions.AuthenticationError, LOGIN),
    (exceptions.AuthenticationWrongNumberOfArgsError, LOGIN),
    (exceptions.NoPermissionError, PERMISSION),
    (exceptions.ReadOnlyError, READ_ONLY),
    (exceptions.OutOfMemoryError, FULL),
    (exceptions.BusyLoadingError, LOADING),
    (exceptions.ClusterError, CLUSTER),
)
# By the first word of an error answer. In the error of a script, this word comes later in the message.
_BY_MESSAGE = (
    ("NOAUTH", LOGIN),
    ("WRONGPASS", LOGIN),
    ("NOPERM", PERMISSION),
    ("READONLY", READ_ONLY),
    ("OOM ", FULL),
    ("MISCONF", DISK),
    ("LOADING", LOADING),
    ("MOVED", CLUSTER),
    ("CLUSTERDOWN", CLUSTER),
    ("CROSSSLOT", CLUSTER),
)


def of(error: Exception) -> Fault:
    """Return what is wrong with Redis."""
    cause = error.__cause__ or error.__context__
    if isinstance(cause, exceptions.RedisError):
        # The cause says why a connection failed.
        error = cause
    for kind, fault in _BY_CLASS:
        if isinstance(error, kind):
            return fault
    if isinstance(error, exceptions.ResponseError):
        message = str(error)
        return next((fault for part, fault in _BY_MESSAGE if part in message), FAILING)
    return UNREACHABLE
