"""What a report consists of, before it is HTML or Markdown. Text is never markup here:
whoever renders it escapes all of it."""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Union

from bench.report.gnuplot import Panel


@dataclass(frozen=True)
class Code:
    """A span of text that is typed or read by a machine."""
    text: str


@dataclass(frozen=True)
class Strong:
    text: str


@dataclass(frozen=True)
class Link:
    """To an anchor of this document."""
    text: str
    anchor: str


Span = Union[str, Code, Strong, Link]
Text = Union[Span, tuple[Span, ...]]


def spans(text: Text) -> tuple[Span, ...]:
    return text if isinstance(text, tuple) else (text,)


@dataclass(frozen=True)
class Cell:
    """`detail` is smaller, below or behind. Tones: "", "good", "bad", "muted", "strong"."""
    text: Text
    detail: str = ""
    tone: str = ""


@dataclass(frozen=True)
class Column:
    title: str
    unit: str = ""
    is_number: bool = True


@dataclass(frozen=True)
class Line:
    """A line of a table. Tones: "", "own" (Postern), "muted" (not compared)."""
    cells: tuple[Cell, ...]
    tone: str = ""


@dataclass(frozen=True)
class Heading:
    level: int
    text: str
    anchor: str


@dataclass(frozen=True)
class Paragraph:
    """Tones: "", "lead", "note" (small), "warning"."""
    text: Text
    tone: str = ""


@dataclass(frozen=True)
class Bullets:
    items: tuple[Text, ...]


@dataclass(frozen=True)
class Table:
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    name: str = ""


@dataclass(frozen=True)
class Plots:
    """Drawings side by side. Markdown has none: the tables have all their figures."""
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Listing:
    text: str


@dataclass(frozen=True)
class Details:
    """Folded until somebody wants it."""
    summary: str
    blocks: tuple["Block", ...]


@dataclass(frozen=True)
class Opening:
    """The first screen: words beside a plot, then whatever follows."""
    eyebrow: str
    title: str
    lead: Text
    facts: tuple[Text, ...]
    plots: Plots | None


Block = Union[Heading, Paragraph, Bullets, Table, Plots, Listing, Details, Opening]


@dataclass(frozen=True)
class Document:
    title: str
    blocks: tuple[Block, ...] = field(default=())
