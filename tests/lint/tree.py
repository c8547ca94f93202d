#!/usr/bin/env python3
"""Facts about the files themselves: run bits, line ends, and no path of one machine."""

import os
import re

import source

TEXT_SUFFIXES = {".c", ".h", ".py", ".md", ".txt", ".cmake", ".json", ".yaml", ".yml", ".sh", ""}
# Each names a machine or a person, wherever the checkout is.
PERSONAL_PATH = re.compile(r"(?<![\w./])/(?:home|Users)/\w+/|(?<![\w./])/root/\w")
# A checkout below one of these gives no path that would mean one machine.
COMMON_PARENTS = {"/", "/home", "/mnt", "/opt", "/root", "/srv", "/tmp", "/usr/local/src", "/usr/src", "/var/lib",
                  "/var/tmp"}


def machine_path(root):
    """A pattern for paths below the folder that holds this checkout, or None."""
    parent = os.path.dirname(os.path.realpath(root))
    if parent in COMMON_PARENTS:
        return None
    return re.compile(r"(?<![\w.])" + re.escape(parent) + "/")


def check(root):
    here = machine_path(root)
    problems = []
    for path in source.tree_files(root):
        data = (root / path).read_bytes()
        has_shebang = data.startswith(b"#!")
        is_executable = os.access(root / path, os.X_OK)
        if has_shebang and not is_executable:
            problems.append(f"{path}: begins with #! but has no run bit")
        if is_executable and not has_shebang:
            problems.append(f"{path}: has a run bit but does not begin with #!")
        if path.suffix not in TEXT_SUFFIXES or b"\0" in data:
            continue
        text = data.decode("utf-8", "surrogateescape")
        for number, line in enumerate(text.split("\n"), 1):
            if PERSONAL_PATH.search(line) or (here and here.search(line)):
                problems.append(f"{path}:{number}: a path of one machine: {line.strip()}")
            if line.endswith("\r"):
                problems.append(f"{path}:{number}: the line ends in CR LF")
        if text and not text.endswith("\n"):
            problems.append(f"{path}: the last line has no end")
    return problems


if __name__ == "__main__":
    source.main("tree", check)
