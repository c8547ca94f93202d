"""Makes report.html and report.md of one benchmark run, from its JSON files alone.

    from bench import report
    report.write("bench/results/2026-11-23-1955")

The way through: results.py reads and checks the files; figures.py has medians, ranges and
ratios and says which rows may be compared; losses.py and targets.py judge; sections.py puts it
all into a document of plain blocks (document.py), which page.py renders as HTML and markdown.py
as Markdown, so that both say the same. charts.py decides what is drawn and gnuplot.py draws it.
"""
from __future__ import annotations

import os
from pathlib import Path

from bench.report import charts, gnuplot, markdown, page, sections
from bench.report.errors import ReportError
from bench.report.results import load

__all__ = ["ReportError", "write"]


def _replace(path: Path, text: str) -> None:
    """Whoever has the report open never sees half of one."""
    beside = path.with_name(f".{path.name}.new")
    try:
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, path)
    except OSError as error:
        raise ReportError(f"{path} cannot be written: {error.strerror}") from error


def write(directory: str | os.PathLike) -> list[Path]:
    """Writes both reports into `directory` and returns their paths.

    Raises ReportError when the JSON is missing or not what bench/compare/RESULTS.md says, and
    when gnuplot is missing or fails; nothing is written then.
    """
    folder = Path(directory)
    results = load(folder)
    document = sections.document(results)
    drawn = gnuplot.draw(charts.panels(document))
    html, text = page.render(document, drawn), markdown.render(document)
    paths = [folder / "report.html", folder / "report.md"]
    _replace(paths[0], html)
    _replace(paths[1], text)
    return paths
