"""The errors that storage raises to other rooms."""


class StorageError(Exception):
    """The base class of all errors of storage."""


class StorageUnavailable(StorageError):
    """A store does not answer, or answers with a fault. Nothing was promised, and the request must not be answered.

    Args:
        operator: one sentence for the operator: what is wrong, and what to do.
        caller: what callers are told.
        only_changes_fail: whether reads may still be answered.
    """

    def __init__(self, operator: str, caller: str, only_changes_fail: bool = False) -> None:
        super().__init__(operator)
        self.caller = caller
        self.only_changes_fail = only_changes_fail


class Refused(StorageError):
    """The change was refused; the message says why, and what to do instead."""
