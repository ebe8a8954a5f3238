"""What can go wrong with storage, in the words of its callers."""


class StorageError(Exception):
    """The base of every error of storage."""


class StorageUnavailable(StorageError):
    """The database does not answer, so nothing was promised and nothing may be answered."""


class Refused(StorageError):
    """The change was refused; the message says why and what to do instead."""
