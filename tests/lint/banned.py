#!/usr/bin/env python3
"""Calls and marks that have no place in the code, each with what to use instead."""

import re

import source

CALLS = {
    "strcpy": "buf_append or memcpy with a checked length",
    "strcat": "buf_append",
    "strncat": "buf_append",
    "stpcpy": "buf_append",
    "sprintf": "buf_append_format or snprintf",
    "vsprintf": "vsnprintf",
    "strtok": "the slice functions",
    "atoi": "slice_to_u64",
    "atol": "slice_to_u64",
    "atoll": "slice_to_u64",
    "gets": "fgets or read",
    "localtime": "gmtime_r",
    "localtime_r": "gmtime_r: time is UTC",
    "gmtime": "gmtime_r",
    "ctime": "gmtime_r",
    "asctime": "gmtime_r",
    "alloca": "memory with an owner",
    "system": "nothing: no shell, ever",
    "popen": "nothing: no shell, ever",
    "setjmp": "an error that is returned",
    "longjmp": "an error that is returned",
    "tmpnam": "mkstemp",
    "mktemp": "mkstemp",
}
# Not after a dot or an arrow: a member may be called so.
CALL = re.compile(r"(?<![\w.>])(" + "|".join(CALLS) + r")\s*\(")
DEAD = re.compile(r"^[ \t]*#[ \t]*if[ \t]+0\b", re.MULTILINE)
# Spelled in two parts so that this file does not carry the marks itself.
MARKS = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "X" * 3]) + r")\b")


def check(root):
    problems = []
    for path in source.c_files(root):
        text = source.read(root, path)
        code = source.code_only(text)
        for match in CALL.finditer(code):
            name = match.group(1)
            where = f"{path}:{source.line_of(code, match.start())}"
            problems.append(f"{where}: {name}() is banned; use {CALLS[name]}")
        for match in DEAD.finditer(code):
            problems.append(f"{path}:{source.line_of(code, match.start())}: dead code under #if 0")
    for path in source.tree_files(root):
        if path.suffix in (".c", ".h", ".py", ".sh", ".txt", ".cmake", ".yaml", ".md", ""):
            text = source.read(root, path)
            for match in MARKS.finditer(text):
                where = f"{path}:{source.line_of(text, match.start())}"
                problems.append(f"{where}: {match.group(1)}: finish it or write an issue")
    return problems


if __name__ == "__main__":
    source.main("banned", check)
