"""Prints the result of `pip-audit --format json` in a readable form, and sets the exit status: `make audit`.

Exit status: 0 if no checked package has a known vulnerability; 1 if one has; 2 if no package could be checked (the
message says why). `make` itself ends with 2 after either error, and names the status.
"""

import json
import sys
from typing import Any


def main() -> int:
    """Read the JSON from standard input, and return the exit status."""
    try:
        dependencies = json.load(sys.stdin)["dependencies"]
    except (ValueError, KeyError):
        return _skipped("pip-audit printed no result; perhaps it can't reach its data from here.")
    checked = [one for one in dependencies if "skip_reason" not in one]
    vulnerable = [one for one in checked if one["vulns"]]
    for one in vulnerable:
        print(_describe(one))
    if not checked:
        return _skipped(f"the index that answers here knows none of {len(dependencies)} packages; run it elsewhere.")
    unknown = len(dependencies) - len(checked)
    print(f"{len(checked)} packages asked for, {len(vulnerable)} with known vulnerabilities, {unknown} unknown there.")
    return 1 if vulnerable else 0


def _skipped(reason: str) -> int:
    print(f"SKIPPED: {reason}", file=sys.stderr)
    return 2


def _describe(one: dict[str, Any]) -> str:
    found = [f"{vuln['id']} (fixed in {', '.join(vuln['fix_versions']) or 'no version yet'})" for vuln in one["vulns"]]
    return f"{one['name']} {one['version']}: {', '.join(found)}"


if __name__ == "__main__":
    sys.exit(main())
