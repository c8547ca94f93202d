"""Numbers as text: three digits that matter, groups of thousands, never a false zero."""
from __future__ import annotations

from bench.report.figures import Summary

THIN = "\N{NARROW NO-BREAK SPACE}"
DASH = "\N{EN DASH}"
TIMES = "\N{MULTIPLICATION SIGN}"


def number(value: float | None) -> str:
    """27.14 is "27.1", 1041.6 "1 042", 0.4123 "0.412"."""
    if value is None:
        return DASH
    size = abs(value)
    digits = 0 if size >= 99.95 else 1 if size >= 9.995 else 2 if size >= 0.9995 else 3
    if size < 0.0005:
        text = "0" if size == 0 else f"{value:.1g}"
    else:
        text = f"{value:,.{digits}f}"
    return text.replace(",", THIN).replace("-", "\N{MINUS SIGN}")


def mark(value: float) -> str:
    """A place on an axis: as few digits as it has."""
    return f"{value:,.6f}".rstrip("0").rstrip(".").replace(",", THIN)


def whole(value: float | None) -> str:
    return DASH if value is None else f"{value:,.0f}".replace(",", THIN)


def span(summary: Summary | None) -> str:
    """Least and greatest of the runs; empty when there was one run, which has no spread."""
    if summary is None or summary.count < 2:
        return ""
    return f"{number(summary.low)}{DASH}{number(summary.high)}"


def times(value: float | None) -> str:
    """A ratio."""
    if value is None:
        return DASH
    digits = 0 if value >= 99.95 else 1 if value >= 9.995 else 2
    text = f"{value:,.{digits}f}".replace(",", THIN) if value >= 0.01 else number(value)
    return text + TIMES


def plural(count: int, one: str, many: str | None = None) -> str:
    return f"{whole(count)} {one if count == 1 else many or one + 's'}"


def listed(words: list[str]) -> str:
    """ "a", "a and b", "a, b and c". """
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def sentence(text: str) -> str:
    """Text from data at the end of a sentence of ours: with one full stop."""
    text = text.strip()
    return text if text.endswith((".", "!", "?")) or not text else text + "."
