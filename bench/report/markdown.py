"""A document as Markdown (GitHub's). Text from data is escaped: it cannot become markup."""
from __future__ import annotations

import re

from bench.report.document import (Block, Bullets, Cell, Code, Details, Document, Heading, Line,
                                   Link, Listing, Opening, Paragraph, Plots, Strong, Table, Text,
                                   spans)

_SPECIAL = re.compile(r"([\\`*_{}\[\]#|~])")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_LIST_START = re.compile(r"^(\d+)([.)])|^([-+])")


def escape(text: str) -> str:
    """On one line, with nothing that Markdown or HTML would take for its own. Names of hosts
    and addresses are not linked either: autolinks need a colon or an at sign."""
    flat = " ".join(text.split())
    flat = _SPECIAL.sub(r"\\\1", flat)
    flat = "".join(_ENTITIES.get(c, c) for c in flat)
    return flat.replace("://", ":&#47;&#47;")


def _code(text: str) -> str:
    """Fenced by more backticks than it has; a bar would end a table's cell even there."""
    flat = " ".join(text.split()).replace("|", "¦")
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", flat)), default=0))
    pad = " " if flat.startswith("`") or flat.endswith("`") else ""
    return f"{fence}{pad}{flat}{pad}{fence}"


def inline(text: Text) -> str:
    parts = []
    for span in spans(text):
        if isinstance(span, Code):
            parts.append(_code(span.text))
        elif isinstance(span, Strong):
            parts.append(f"**{escape(span.text)}**")
        elif isinstance(span, Link):
            parts.append(f"[{escape(span.text)}](#{span.anchor})")
        else:
            head = " " if span[:1].isspace() else ""
            tail = " " if span[-1:].isspace() and span.strip() else ""
            parts.append(head + escape(span) + tail)
    return "".join(parts)


def _paragraph(text: str) -> str:
    """A line that begins as a list or a heading would must not."""
    return _LIST_START.sub(lambda m: f"{m[1]}\\{m[2]}" if m[1] else f"\\{m[3]}", text)


def _cell(cell: Cell) -> str:
    text = inline(cell.text)
    if cell.tone == "strong" and text:
        text = f"**{text}**"
    return f"{text} ({escape(cell.detail)})" if cell.detail and text else \
        text or escape(cell.detail)


def _table_line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _line(line: Line) -> str:
    return _table_line([_cell(cell) for cell in line.cells])


def _table(table: Table) -> str:
    heads = [escape(f"{column.title}, {column.unit}" if column.title and column.unit
                    else column.title or column.unit) for column in table.columns]
    rules = ["---:" if column.is_number else "---" for column in table.columns]
    return "\n".join([_table_line(heads), _table_line(rules), *map(_line, table.lines)])


def _listing(text: str) -> str:
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}\n{text}\n{fence}"


def _opening(block: Opening) -> str:
    parts = [escape(block.eyebrow), f"# {escape(block.title)}", _paragraph(inline(block.lead)),
             "\n".join(f"- {inline(fact)}" for fact in block.facts)]
    return "\n\n".join(parts)


def _block(block: Block) -> str:
    if isinstance(block, Opening):
        return _opening(block)
    if isinstance(block, Heading):
        return f'<a id="{block.anchor}"></a>\n\n{"#" * block.level} {escape(block.text)}'
    if isinstance(block, Paragraph):
        text = _paragraph(inline(block.text))
        return f"> {text}" if block.tone == "warning" else text
    if isinstance(block, Bullets):
        return "\n".join(f"- {inline(item)}" for item in block.items)
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Listing):
        return _listing(block.text)
    if isinstance(block, Details):
        inner = "\n\n".join(_block(one) for one in block.blocks)
        return f"<details><summary>{escape(block.summary)}</summary>\n\n{inner}\n\n</details>"
    assert isinstance(block, Plots)
    return ""


def render(document: Document) -> str:
    parts = [text for text in map(_block, document.blocks) if text]
    return "\n\n".join(parts) + "\n"
