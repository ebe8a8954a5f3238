"""Names what is wrong with Redis, by the errors of its client: for the operator, and for callers."""

from redis import exceptions

from storage.faults import Fault

_SETTING = "CLASSIFIER_REDIS_URL"
_AWAY = "The service can't reach its store of limits; send the request again shortly."
_TAKES_NONE = "The service's store of limits takes no changes just now; send the request again shortly."

UNREACHABLE = Fault(f"Redis can't be reached; check that it runs, and {_SETTING}.", _AWAY)
LOGIN = Fault(f"Redis refuses the user or the password, or wants one; check {_SETTING}.", _AWAY)
PERMISSION = Fault("Redis' user may not run scripts on keys 'classifier:*'; allow it to (ACL SETUSER).", _TAKES_NONE)
READ_ONLY = Fault(f"This Redis is a replica that can only be read; name the primary in {_SETTING}.", _TAKES_NONE)
FULL = Fault("Redis is out of memory; raise its maxmemory.", _TAKES_NONE)
DISK = Fault("Redis can't write to its disk and so takes no changes; look at its log.", _TAKES_NONE)
LOADING = Fault("Redis is loading its data; wait for it.", _AWAY)
CLUSTER = Fault(f"This Redis is one of a cluster, which is not supported; name a single one in {_SETTING}.", _AWAY)
FAILING = Fault("Redis answers with an error; look at its log.", _TAKES_NONE)

_OF_CLASS = (
    (exceptions.AuthenticationError, LOGIN),
    (exceptions.AuthenticationWrongNumberOfArgsError, LOGIN),
    (exceptions.NoPermissionError, PERMISSION),
    (exceptions.ReadOnlyError, READ_ONLY),
    (exceptions.OutOfMemoryError, FULL),
    (exceptions.BusyLoadingError, LOADING),
    (exceptions.ClusterError, CLUSTER),
)
# The first word of an answer that is an error; in a script's error it stands further behind.
_IN_WORDS = (
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
    """What is wrong."""
    cause = error.__cause__ or error.__context__
    if isinstance(cause, exceptions.RedisError):
        # Why a connection could not be made is told by the error behind that.
        error = cause
    for kind, fault in _OF_CLASS:
        if isinstance(error, kind):
            return fault
    if isinstance(error, exceptions.ResponseError):
        words = str(error)
        return next((fault for word, fault in _IN_WORDS if word in words), FAILING)
    return UNREACHABLE
