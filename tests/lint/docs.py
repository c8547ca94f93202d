#!/usr/bin/env python3
"""The manual and the code name the same things.

Every limit that a header names (a constant whose name ends in _MAX) is explained in docs/limits.md,
and every metric that server/admin writes in docs/metrics.md; neither page names one that is gone. A
limit inside of one .c is that file's own affair. Every key of the configuration's schema that is
built is in docs/configuration.md."""

import re
from pathlib import Path

import source

LIMIT = re.compile(r"^[ \t]*#[ \t]*define[ \t]+([A-Z][A-Z0-9_]*_MAX)\b|^[ \t]*([A-Z][A-Z0-9_]*_MAX)[ \t]*=",
                   re.MULTILINE)
METRIC = re.compile(r"\b(postern_[a-z0-9_]+[a-z0-9])")
# Suffixes that the text format adds to a histogram's name.
HISTOGRAM_SUFFIX = re.compile(r"_(bucket|sum|count)$")
# Words in strings that only look like metrics.
STRING = re.compile(r'"((?:\\.|[^"\\\n])*)"')


def limits_in_code(root):
    found = {}
    for path in source.c_files(root, source.PRODUCT_FOLDERS):
        if path.suffix != ".h":
            continue
        text = source.code_only(source.read(root, path))
        for match in LIMIT.finditer(text):
            name = match.group(1) or match.group(2)
            found.setdefault(name, f"{path}:{source.line_of(text, match.start(0))}")
    return found


def metrics_in_code(root):
    found = {}
    for path in source.c_files(root, ("server",)):
        if path.parts[:2] != ("server", "admin"):
            continue
        text = source.read(root, path)
        for string in STRING.finditer(text):
            for match in METRIC.finditer(string.group(1)):
                where = f"{path}:{source.line_of(text, string.start())}"
                found.setdefault(HISTOGRAM_SUFFIX.sub("", match.group(1)), where)
    return found


SCHEMA = Path("server/config/schema.c")
KEY = re.compile(r'(?:\.name = |DELIVERY_TIMEOUT\()"([a-z_]+)"')


def keys_in_code(root):
    if not (root / SCHEMA).is_file():
        return {}
    text = source.read(root, SCHEMA)
    return {match.group(1): f"{SCHEMA}:{source.line_of(text, match.start())}"
            for match in KEY.finditer(text)}


def page(root, name):
    path = root / "docs" / name
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def check(root):
    problems = []
    limits, limits_page = limits_in_code(root), page(root, "limits.md")
    for name, where in limits.items():
        if not re.search(rf"\b{name}\b", limits_page):
            problems.append(f"{where}: {name} is not in docs/limits.md")
    for name in sorted(set(re.findall(r"`([A-Z][A-Z0-9_]*_MAX)`", limits_page))):
        if name not in limits:
            problems.append(f"docs/limits.md: {name} is not in the code")

    metrics, metrics_page = metrics_in_code(root), page(root, "metrics.md")
    in_page = {HISTOGRAM_SUFFIX.sub("", name) for name in METRIC.findall(metrics_page)}
    for name, where in metrics.items():
        if name not in in_page:
            problems.append(f"{where}: {name} is not in docs/metrics.md")
    for name in sorted(in_page - set(metrics)):
        problems.append(f"docs/metrics.md: {name} is not written by server/admin")

    keys_page = page(root, "configuration.md")
    for name, where in keys_in_code(root).items():
        if not re.search(rf"(?<![a-z_]){name}(?![a-z_])", keys_page):
            problems.append(f"{where}: the key {name} is not in docs/configuration.md")
    return problems


if __name__ == "__main__":
    source.main("docs", check)
