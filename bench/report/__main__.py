"""python3 -m bench.report DIR: makes the reports of the results in DIR again."""
from __future__ import annotations

import sys

from bench.report import ReportError, write


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("usage: python3 -m bench.report DIR", file=sys.stderr)
        return 64
    try:
        for path in write(arguments[0]):
            print(path)
    except ReportError as error:
        print(f"report: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
