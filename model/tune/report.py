"""Formats a choice and its measurements as text for an operator."""

from model.configuration import Choice
from model.tune.trial import PRECISION_NAMES


def summary(choice: Choice) -> str:
    """Format the choice as one line."""
    chosen = choice.configuration
    return (
        f"{PRECISION_NAMES[chosen.precision]}, {chosen.resize} resize, {chosen.threads} threads, "
        f"{chosen.streams} streams, batches of {chosen.batch_size} ({choice.why})"
    )


def table(choice: Choice) -> str:
    """Format the measurements as a table, with one line for each configuration."""
    heads = ("precision", "resize", "threads", "streams", "batch", "images/s", "one: ms", "top-1", "largest", "")
    lines = [heads]
    for row in choice.table:
        configuration = row.configuration
        lines.append(
            (
                PRECISION_NAMES[configuration.precision],
                configuration.resize,
                str(configuration.threads),
                str(configuration.streams),
                str(configuration.batch_size),
                f"{row.images_per_s:.1f}",
                f"{1000 / row.alone_per_s:.1f}" if row.alone_per_s else "",
                f"{row.same_top1:.1%}" if row.same_top1 is not None else "",
                f"{row.largest:.4f}" if row.largest is not None else "",
                row.verdict,
            )
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads) - 1)]
    return "\n".join(
        "  ".join([*(cell.rjust(width) for cell, width in zip(line, widths, strict=False)), line[-1]]).rstrip()
        for line in lines
    )
