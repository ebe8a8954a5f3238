"""What can go wrong with storage, in the words of its callers."""


class StorageError(Exception):
    """The base of every error of storage."""


class StorageUnavailable(StorageError):
    """A store does not answer, or not as it should, so nothing was promised and nothing may be answered.

    Args:
        operator: what is wrong and what to do, in a sentence for the operator.
        caller: what callers are told.
    """

    def __init__(self, operator: str, caller: str) -> None:
        super().__init__(operator)
        self.caller = caller


class Refused(StorageError):
    """The change was refused; the message says why and what to do instead."""
