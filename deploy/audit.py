"""Reads what `pip-audit --format json` found, prints it for people, and decides: `make audit`.

Exit status: 0 nothing known, or nothing could be asked (which is said); 1 a known vulnerability.
"""

import json
import sys
from typing import Any


def main() -> int:
    """Read standard input; the exit status."""
    try:
        dependencies = json.load(sys.stdin)["dependencies"]
    except (ValueError, KeyError):
        print("SKIPPED: pip-audit found nothing to say; it may not reach its data from here.")
        return 0
    asked = [one for one in dependencies if "skip_reason" not in one]
    vulnerable = [one for one in asked if one["vulns"]]
    for one in vulnerable:
        print(_told(one))
    if not asked:
        print(
            f"SKIPPED: of {len(dependencies)} packages none is known to the index that answers here; run it elsewhere."
        )
        return 0
    unasked = len(dependencies) - len(asked)
    print(f"{len(asked)} packages asked for, {len(vulnerable)} with known vulnerabilities, {unasked} unknown there.")
    return 1 if vulnerable else 0


def _told(one: dict[str, Any]) -> str:
    found = [f"{vuln['id']} (fixed in {', '.join(vuln['fix_versions']) or 'no version yet'})" for vuln in one["vulns"]]
    return f"{one['name']} {one['version']}: {', '.join(found)}"


if __name__ == "__main__":
    sys.exit(main())
