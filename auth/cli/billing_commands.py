"""The commands for billing: exporting the usage log, and checking that all of its sums agree."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from auth.cli import export as formats
from auth.cli.answer import Answer, Context
from auth.cli.progress import Progress
from auth.cli.sent_check import SentCheck
from runtime.garbage_collection import freeze_gc
from storage import reconciliation, usage_export, users
from storage.clock import MICROSECONDS, iso, unix_us
from storage.errors import Refused
from storage.new_file import new_file
from storage.prices import write_amount
from storage.reconciliation import Difference
from storage.usage_export import Selection

# How a message names each sum that a `reconciliation.Difference` may be about.
_NAMES = {
    "requests": "{} requests",
    "admitted": "{} admitted requests",
    "images": "{} images",
    "billable": "{} billable images",
    "cost_nanos": "costs of {}",
}


def export(
    context: Context,
    *,
    since: int | None,
    until: int | None,
    format: str,
    user: str | None,
    output: Path | None,
) -> Answer:
    """Write the rows of the usage log to `output`, or to standard output. `since` and `until` are Unix seconds."""
    from_us = 0 if since is None else since * MICROSECONDS
    to_us = unix_us() if until is None else until * MICROSECONDS
    user_id = None
    if user is not None:
        user_id = context.database.ask(lambda connection: users.require(connection, user)).user_id
    wanted, written = Selection(from_us, to_us, user_id), 0
    # A tenth faster: rows hold no cycles of references.
    freeze_gc()
    progress = Progress(is_shown=output is not None and sys.stderr.isatty())
    try:
        with nullcontext(sys.stdout) if output is None else _new_file(output) as file:
            write = formats.writer(format, file)
            for page in usage_export.pages(context.database.ask, wanted):
                write(page)
                written += len(page)
                progress.show(f"{written:,} rows ...")
            file.flush()
    except FileExistsError:
        raise Refused(f"The file {output} exists; name another one.") from None
    except OSError as error:
        if output is None:
            # Python would fail to flush again as it ends.
            sys.stdout = None
        if isinstance(error, BrokenPipeError):
            raise Refused("The reader of standard output ended before all rows were written.") from None
        raise Refused(f"The rows can't be written: {error.strerror}.") from None
    document = {"rows": written, "from": iso(from_us), "to": iso(to_us), "format": format}
    return Answer(document, f"{written:,} rows are written, up to {iso(to_us)}.", is_notice=output is None)


@contextmanager
def _new_file(path: Path) -> Iterator[TextIO]:
    with new_file(path, 0o666) as writing, writing.open("w", encoding="utf-8", newline="") as file:
        yield file


def reconcile(context: Context) -> Answer:
    """Compare the usage log, its roll-up, what quotas count and what was sent to Stripe, user by user."""
    ask = context.database.ask
    from_s = ask(reconciliation.first_whole_day_s)
    everyone = ask(reconciliation.user_ids)
    sent = SentCheck(context.database)
    for user_id in everyone:
        for span in ask(partial(reconciliation.spans, user_id=user_id, from_s=from_s)):
            _check(ask(partial(reconciliation.differences_by_day, user_id=user_id, span=span)))
        _check(ask(partial(reconciliation.differences_in_total, user_id=user_id)))
        sent.check(user_id)
    document: dict[str, Any] = {"agrees": True, "users": len(everyone)} | sent.document()
    number = "1 user" if len(everyone) == 1 else f"{len(everyone):,} users"
    text = f"The usage log, its roll-up and the count for quotas agree, for {number}.{sent.text()}"
    return Answer(document, text)


def _check(found: list[Difference]) -> None:
    """Check that no difference was found.

    Raises:
        Refused: names the first difference.
    """
    if not found:
        return
    first = found[0]
    of = "in all" if first.day is None else f"on {first.day}"
    what = _NAMES[first.what]
    in_one, in_other = [_written(first.what, sum_) for sum_ in (first.in_one, first.in_other)]
    raise Refused(f"User {first.user_id} {of}: {what.format(in_one)} in {first.one}, {in_other} in {first.other}.")


def _written(what: str, sum_: int) -> str:
    return write_amount(sum_) if what == "cost_nanos" else f"{sum_:,}"
