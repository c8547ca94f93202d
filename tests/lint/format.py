#!/usr/bin/env python3
"""Every .c and .h of ours is as clang-format would write it."""

import re
import subprocess
import sys
from pathlib import Path

import source

FILES_MAX = 50  # in one run of clang-format


def check(root, clang_format):
    root = Path(root)
    paths = [str(path) for path in source.c_files(root)]
    problems = []
    for start in range(0, len(paths), FILES_MAX):
        group = paths[start : start + FILES_MAX]
        done = subprocess.run(
            [clang_format, "--dry-run", "-Werror", "--style=file", *group],
            cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )
        if done.returncode == 0:
            continue
        lines = {}
        for path, line in re.findall(r"^(.+?):(\d+):\d+: error:", done.stdout, re.MULTILINE):
            lines.setdefault(path, []).append(line)
        problems += [f"{path}:{found[0]}: not as clang-format writes it, {len(found)} places in this file"
                     for path, found in lines.items()]
        if not lines:
            problems.append(f"clang-format failed: {done.stdout.strip()}")
    return problems


if __name__ == "__main__":
    if len(sys.argv) != 3:
        print(f"usage: {sys.argv[0]} ROOT CLANG_FORMAT", file=sys.stderr)
        sys.exit(64)
    sys.exit(source.report("format", check(sys.argv[1], sys.argv[2])))
