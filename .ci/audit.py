"""Runs pip-audit on lock files: `audit.py PIP_AUDIT LOCK…`. Fails for a known vulnerability.

pip-audit ends with 1 for a finding and for a service that does not answer, and calls packages that the service does not
know good. Here a check that could not be made is one line, and says so.
"""

from __future__ import annotations

import json
import subprocess
import sys

UNREACHABLE = (
    "requests.exceptions.",
    "ServiceError",
    "ConnectionError",
    "Could not connect",
    "network may be blocking",
)


def audit(tool: str, lock: str) -> bool:
    """Whether the packages of a lock file have no known vulnerability, or that could not be found out."""
    command = [tool, "--disable-pip", "--require-hashes", "--requirement", lock, "--format", "json"]
    ended = subprocess.run(
        [*command, "--progress-spinner", "off", "--timeout", "10"], capture_output=True, text=True, check=False
    )
    *_, last = ["", *ended.stderr.strip().splitlines()]
    try:
        packages = json.loads(ended.stdout)["dependencies"]
    except ValueError:
        skipped = any(word in last for word in UNREACHABLE)
        print(f"pip-audit {lock}: {'skipped, the service for vulnerabilities cannot be reached' if skipped else last}")
        return skipped
    found = [(package, each) for package in packages for each in package.get("vulns", ())]
    for package, each in found:
        fixed = ", ".join(each["fix_versions"]) or "no version"
        print(f"pip-audit {lock}: {package['name']} {package['version']}: {each['id']}, fixed in {fixed}")
    unknown = sum("skip_reason" in package for package in packages)
    if unknown == len(packages):
        print(f"pip-audit {lock}: skipped, the service for vulnerabilities knows none of the {unknown} packages")
    elif unknown:
        print(
            f"pip-audit {lock}: {unknown} of {len(packages)} packages are not known to the service and were not checked"
        )
    return not found


if __name__ == "__main__":
    tool, *locks = sys.argv[1:]
    results = [audit(tool, lock) for lock in locks]
    sys.exit(not all(results))
