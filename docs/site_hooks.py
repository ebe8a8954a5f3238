"""Adapts pages for the site that `make docs` builds: see `configs/mkdocs.yml`."""

import re
from typing import Any

# A link to a file of the repository that is not a page of the site.
_OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./[^)]+\)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Show a link to a file outside of `docs/` as the file's name: the site does not hold that file."""
    return _OUTSIDE.sub(r"`\1`", markdown)
