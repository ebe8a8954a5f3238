"""Reads what `pip-audit --format json` found, prints it for people, and decides: `make audit`.

Exit status: 0 nothing known of what was asked for; 1 a known vulnerability; 2 nothing could be asked, and why. `make`
itself ends with 2 for either, and names the status.
"""

import json
import sys
from typing import Any


def main() -> int:
    """Read standard input; the exit status."""
    try:
        dependencies = json.load(sys.stdin)["dependencies"]
    except (ValueError, KeyError):
        return _skipped("pip-audit found nothing to say; it may not reach its data from here.")
    asked = [one for one in dependencies if "skip_reason" not in one]
    vulnerable = [one for one in asked if one["vulns"]]
    for one in vulnerable:
        print(_describe(one))
    if not asked:
        return _skipped(
            f"of {len(dependencies)} packages none is known to the index that answers here; run it elsewhere."
        )
    unasked = len(dependencies) - len(asked)
    print(f"{len(asked)} packages asked for, {len(vulnerable)} with known vulnerabilities, {unasked} unknown there.")
    return 1 if vulnerable else 0


def _skipped(reason: str) -> int:
    print(f"SKIPPED: {reason}", file=sys.stderr)
    return 2


def _describe(one: dict[str, Any]) -> str:
    found = [f"{vuln['id']} (fixed in {', '.join(vuln['fix_versions']) or 'no version yet'})" for vuln in one["vulns"]]
    return f"{one['name']} {one['version']}: {', '.join(found)}"


if __name__ == "__main__":
    sys.exit(main())
