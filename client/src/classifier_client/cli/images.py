"""`classify photo.jpg photos/`: classifies files and folders."""

from __future__ import annotations

import io
import sys
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import IO, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from classifier_client.cli import json_lines, stored_key
from classifier_client.cli.bars import bar
from classifier_client.cli.messages import describe, printable, say
from classifier_client.client import Client
from classifier_client.core import Retries, TimeLimits
from classifier_client.errors import ConnectionFailed, QuotaExceeded
from classifier_client.images import check_is_no_address, images_in
from classifier_client.results import Classification, Outcome

_BAR_WIDTH = 24
_MOST_CONCURRENT = 64
_STANDARD_INPUT = "/dev/stdin"


def images(
    names: Annotated[
        list[str],
        typer.Argument(metavar="IMAGE...", help="Image files, and folders of them; - is standard input."),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON for each image.")] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Add lines of JSON to this file; images in it are not sent again. - is standard output.",
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(help="Leave out images that are done in this file of JSON lines."),
    ] = None,
    top_k: Annotated[int | None, typer.Option(min=1, help="How many labels.")] = None,
    min_confidence: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Leave out labels that are less probable."),
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=_MOST_CONCURRENT, help="Requests at a time.")] = 8,
) -> int:
    """Classify images; return 1 if any of them failed."""
    for name in names:
        if not name:
            raise ValueError("The name of an image is empty; name a file or a folder.")
        # Before `Path`, which makes one slash of two.
        check_is_no_address(name)
    paths = [Path(_STANDARD_INPUT if name == "-" else name) for name in names]
    files = list(_files(paths))
    has_folder = any(path.is_dir() for path in paths)
    if output == Path("-"):
        as_json, output = True, None
    as_json = as_json or output is not None or (has_folder and not sys.stdout.isatty())
    done = json_lines.done_in(resume) if resume else set()
    with ExitStack() as stack:
        target: IO[str] = sys.stdout
        if output is not None:
            done |= json_lines.clean(output)
            target = stack.enter_context(json_lines.appended(output))
        elif as_json and isinstance(sys.stdout, io.TextIOWrapper):
            # JSON is UTF-8, whatever the terminal shows.
            sys.stdout.reconfigure(encoding="utf-8")
        left = [file for file in files if json_lines.name_of(file) not in done]
        is_many = has_folder or len(files) > 1
        client = stack.enter_context(_client(is_many))
        outcomes = client.classify_many(left, concurrency=concurrency, top_k=top_k, min_confidence=min_confidence)
        if has_folder and (output is not None or not sys.stdout.isatty()):
            outcomes = stack.enter_context(closing(_with_progress(outcomes, len(left))))
        return _print_all(outcomes, target, as_json, is_many)


def _client(is_many: bool) -> Client:
    """Return a client. Who sends one image waits for it; many may take all night, and outlast a restart."""
    if is_many:
        return stored_key.client(retries=Retries(most=10), time_limits=TimeLimits(total=24 * 3600.0))
    return stored_key.client(retries=Retries(most=2))


def _files(paths: list[Path]) -> Iterator[Path]:
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        found = list(images_in(path))
        if not found:
            say(f"{path}: there is no image file in this folder.")
        yield from found


def _print_all(outcomes: Iterator[Outcome[Path]], target: IO[str], as_json: bool, is_many: bool) -> int:
    status, console = 0, Console(highlight=False)
    for outcome in outcomes:
        if outcome.error is not None:
            status = 1
            if isinstance(outcome.error, ConnectionFailed | QuotaExceeded):
                # The next images would fail alike.
                raise outcome.error
            # The error of a file names it already.
            say(("" if isinstance(outcome.error, OSError) else f"{outcome.source}: ") + describe(outcome.error))
        if as_json:
            print(json_lines.line(outcome), file=target, flush=True)
        elif outcome.result is not None:
            _show(console, outcome.source, outcome.result, is_many)
    return status


def _show(console: Console, source: Path, result: Classification, has_heading: bool) -> None:
    if has_heading:
        console.print(printable(str(source)), style="bold", markup=False, soft_wrap=True)
    width = max((len(prediction.label) for prediction in result.predictions), default=0)
    for prediction in result.predictions:
        drawn = bar(prediction.confidence, _BAR_WIDTH, console.options.ascii_only)
        text = f"{prediction.label:<{width}}  {prediction.confidence:6.1%}  {drawn}"
        console.print(text.rstrip(), markup=False, soft_wrap=True)
    if not result.predictions:
        console.print("no label is probable enough")


def _with_progress(outcomes: Iterator[Outcome[Path]], total: int) -> Generator[Outcome[Path], None, None]:
    """Return the outcomes, and show on standard error how many are done, if that is a terminal."""
    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("images"), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("images", total=total)
        for outcome in outcomes:
            progress.advance(task)
            yield outcome
