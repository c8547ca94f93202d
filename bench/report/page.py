"""A document as one HTML page that needs nothing else: its style is inline, its plots are SVG,
it has no script. Text from data is escaped."""
from __future__ import annotations

from html import escape
from pathlib import Path

from bench.report.document import (Block, Bullets, Cell, Code, Column, Details, Document, Heading,
                                   Line, Link, Listing, Opening, Paragraph, Plots, Strong, Table,
                                   Text, spans)
from bench.report.gnuplot import Drawn

STYLE = Path(__file__).with_name("page.css")
_NARROW = ("machine", "systems", "targets", "losses", "durability", "key")  # no table of figures


def inline(text: Text) -> str:
    parts = []
    for span in spans(text):
        if isinstance(span, Code):
            parts.append(f"<code>{escape(span.text)}</code>")
        elif isinstance(span, Strong):
            parts.append(f"<strong>{escape(span.text)}</strong>")
        elif isinstance(span, Link):
            parts.append(f'<a href="#{escape(span.anchor)}">{escape(span.text)}</a>')
        else:
            parts.append(escape(span))
    return "".join(parts)


def _class(*names: str) -> str:
    text = " ".join(name for name in names if name)
    return f' class="{escape(text)}"' if text else ""


def _head(column: Column) -> str:
    unit = f"<small>{escape(column.unit)}</small>" if column.unit else ""
    return f'<th scope="col"{_class("n" if column.is_number else "")}>' \
           f"{escape(column.title)}{unit}</th>"


def _cell(cell: Cell, column: Column) -> str:
    detail = f"<small>{escape(cell.detail)}</small>" if cell.detail else ""
    name = _class("n" if column.is_number else "", cell.tone)
    return f"<td{name}>{inline(cell.text)}{detail}</td>"


def _line(line: Line, table: Table) -> str:
    cells = "".join(_cell(cell, column) for cell, column in zip(line.cells, table.columns))
    return f"<tr{_class(line.tone)}>{cells}</tr>"


def _table(table: Table) -> str:
    heads = "".join(_head(column) for column in table.columns)
    lines = "\n".join(_line(line, table) for line in table.lines)
    name = table.name if table.name in _NARROW else "figures"
    return (f'<div class="scroll"><table{_class(name)}>\n<thead><tr>{heads}</tr></thead>\n'
            f"<tbody>\n{lines}\n</tbody></table></div>")


def _plots(plots: Plots, drawn: Drawn) -> str:
    figures = [f"<figure><figcaption>{escape(panel.title)}<small>{escape(panel.note)}</small>"
               f"</figcaption>\n{drawn.svg[panel]}</figure>" for panel in plots.panels]
    return f'<div class="plots">{"".join(figures)}</div>'


def _opening(block: Opening, drawn: Drawn) -> str:
    facts = "".join(f"<li>{inline(fact)}</li>" for fact in block.facts)
    plots = _plots(block.plots, drawn) if block.plots else ""
    return (f'<header class="opening"><p class="eyebrow">{escape(block.eyebrow)}</p>\n'
            f'<div><h1>{escape(block.title)}</h1>\n<p class="lead">{inline(block.lead)}</p>\n'
            f'<ul class="facts">{facts}</ul></div>\n<div>{plots}</div></header>')


def _block(block: Block, drawn: Drawn) -> str:
    if isinstance(block, Opening):
        return _opening(block, drawn)
    if isinstance(block, Heading):
        return (f'<h{block.level} id="{escape(block.anchor)}">{escape(block.text)}'
                f"</h{block.level}>")
    if isinstance(block, Paragraph):
        return f"<p{_class(block.tone)}>{inline(block.text)}</p>"
    if isinstance(block, Bullets):
        return "<ul>" + "".join(f"<li>{inline(item)}</li>" for item in block.items) + "</ul>"
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Plots):
        return _plots(block, drawn)
    if isinstance(block, Listing):
        return f"<pre>{escape(block.text)}</pre>"
    assert isinstance(block, Details)
    inner = "\n".join(_block(one, drawn) for one in block.blocks)
    return f"<details><summary>{escape(block.summary)}</summary>\n{inner}</details>"


def _contents(document: Document) -> str:
    links = "".join(f'<a href="#{escape(block.anchor)}">{escape(block.text)}</a>'
                    for block in document.blocks if isinstance(block, Heading) and block.level == 2)
    return f'<nav aria-label="Contents">{links}</nav>'


def _body(document: Document, drawn: Drawn) -> str:
    """The contents come before the first section, below the first screen's figures."""
    parts, is_listed = [], False
    for block in document.blocks:
        if isinstance(block, Heading) and not is_listed:
            parts.append(_contents(document))
            is_listed = True
        parts.append(_block(block, drawn))
    return "\n".join(parts)


def render(document: Document, drawn: Drawn) -> str:
    style = STYLE.read_text(encoding="utf-8")
    shapes = (f'<svg class="shapes" aria-hidden="true" xmlns:xlink="http://www.w3.org/1999/xlink">'
              f"<defs>{drawn.definitions}</defs></svg>") if drawn.definitions else ""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(document.title)}</title>
<style>
{style}</style>
</head>
<body>
{shapes}
<main>
{_body(document, drawn)}
</main>
</body>
</html>
"""
