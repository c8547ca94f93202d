#!/usr/bin/env python3
"""Includes go down only.

    server/main.c
    server/core
    server/admin     server/ctl         (not each other)
    server/ingress | server/delivery    (not each other)
    server/policy    server/auth        (not each other)
    server/mail
    server/smtp      server/config      (config may use smtp; both use ring/base alone)
    store          | resolver           (not each other)
    ring
    ring/base

Nothing includes tests/ or bench/, which may include anything. The kernel's asynchronous interface
stays behind ring/loop.h: liburing.h and its types are for ring/loop*.c and the header these share,
ring/loop_internal.h, which nobody else includes."""

import re

import source

FOLDERS_BY_RANK = [
    ["ring/base"],
    ["ring"],
    ["store", "resolver"],
    ["server/smtp", "server/config"],
    ["server/mail"],
    ["server/policy", "server/auth"],
    ["server/ingress", "server/delivery"],
    ["server/admin", "server/ctl"],
    ["server/core"],
    ["server"],
]
RANK = {folder: rank for rank, folders in enumerate(FOLDERS_BY_RANK) for folder in folders}

# Folders of pure functions: they may include only these besides themselves.
ONLY = {
    "server/smtp": {"ring/base"},
    "server/config": {"ring/base", "server/smtp"},
}

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(["<])([^">\n]+)[">]', re.MULTILINE)
URING_TYPE = re.compile(r"\bstruct\s+io_uring\w*|\bio_uring_\w+")


LOOP_INTERNAL = "ring/loop_internal.h"


def is_of_loop(path):
    """True for the files behind ring/loop.h."""
    is_source = path.suffix == ".c" and path.name.startswith("loop")
    return path.parent.as_posix() == "ring" and (is_source or path.as_posix() == LOOP_INTERNAL)


def may_include(user, used):
    if user == used:
        return True
    if user in ONLY:
        return used in ONLY[user]
    return RANK[used] < RANK[user]


def without_comments(text):
    return source.TOKEN.sub(
        lambda m: "\n" * m.group(0).count("\n") if m.lastgroup == "comment" else m.group(0), text
    )


def check_file(root, path):
    folder = path.parent.as_posix()
    text = without_comments(source.read(root, path))
    if folder not in RANK:
        return [f"{path}:1: {folder} is no folder of the layers; tests/lint/layers.py lists them"]
    problems = []
    for match in INCLUDE.finditer(text):
        where = f"{path}:{source.line_of(text, match.start(2))}"
        name = match.group(2)
        if match.group(1) == "<":
            is_uring = name == "liburing.h" or name.startswith(("liburing/", "linux/io_uring"))
            if is_uring and not is_of_loop(path):
                problems.append(f"{where}: <{name}> belongs to ring/loop*.c alone")
            continue
        if not (root / name).is_file():
            problems.append(f'{where}: "{name}" is not a path from the top folder')
            continue
        used = name.rpartition("/")[0]
        if name == LOOP_INTERNAL and not is_of_loop(path):
            problems.append(f"{where}: {name} belongs to ring/loop*.c alone")
        elif used.split("/")[0] in ("tests", "bench"):
            problems.append(f"{where}: {used} is included by nothing but tests and benchmarks")
        elif used not in RANK:
            problems.append(f"{where}: {used} is no folder of the layers")
        elif not may_include(folder, used):
            problems.append(f"{where}: {folder} may not include {used}")
    if path.suffix == ".h" and not is_of_loop(path):
        code = source.code_only(text)
        for match in URING_TYPE.finditer(code):
            where = f"{path}:{source.line_of(code, match.start())}"
            problems.append(f"{where}: {match.group(0)} in a header")
    return problems


def check(root):
    problems = []
    for path in source.c_files(root, source.PRODUCT_FOLDERS):
        problems += check_file(root, path)
    return problems


if __name__ == "__main__":
    source.main("layers", check)
