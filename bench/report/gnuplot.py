"""Draws panels with gnuplot's svg terminal and makes its output fit for a page.

gnuplot gets sentinel colours (#0000NN); in the SVG they become CSS variables, so that one
drawing serves the light page and the dark one. Its definitions of point shapes are the same in
every drawing and are kept once. Fonts are the page's.
"""
from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

from bench.report.errors import ReportError

COMMAND = "gnuplot"
LIMIT_S = 120
INKS = ("ink", "muted", "grid", "surface")  # besides the colours of systems
_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"
_RGB = re.compile(r"^rgb\(\s*0,\s*0,\s*(\d+)\)$")


@dataclass(frozen=True)
class Panel:
    """One drawing. The sentinel colours of `script` (gnuplot's) stand for the CSS variables
    that `colours` names; `description` is for those who do not see it."""
    title: str
    note: str
    script: str
    width: int
    height: int
    colours: tuple[str, ...]
    description: str


@dataclass(frozen=True)
class Drawn:
    """SVG text for each panel, and the definitions that all of them use."""
    svg: dict[Panel, str]
    definitions: str


class Palette:
    """Gives each CSS variable a sentinel colour of one drawing."""

    def __init__(self) -> None:
        self.names: list[str] = list(INKS)

    def colour(self, name: str) -> str:
        if name not in self.names:
            self.names.append(name)
        return f'rgb "#0000{self.names.index(name) + 1:02x}"'


def quoted(text: str) -> str:
    """A gnuplot string. Nothing is expanded between single quotes."""
    flat = "".join(" " if c < " " else c for c in text)
    return "'" + flat.replace("'", "''") + "'"


def tic(text: str) -> str:
    """A tic's label, which gnuplot takes for a format of its place."""
    return quoted(text.replace("%", "%%"))


def _script(panels: list[Panel], folder: Path) -> str:
    parts = ["set encoding utf8\n"]
    for index, panel in enumerate(panels):
        parts.append(f"""reset
set terminal svg size {panel.width},{panel.height} font "sans,12" noenhanced linewidth 1
set output {quoted(str(folder / f"{index}.svg"))}
{panel.script}
unset output
""")
    return "".join(parts)


def _run(script: str) -> None:
    path = shutil.which(COMMAND)
    if path is None:
        raise ReportError("gnuplot is missing, and the report's plots are drawn by it: install "
                          "the Debian package gnuplot-nox (scripts/setup bench), then make the "
                          "report again with bench/run --report DIR")
    try:
        done = subprocess.run([path, "-d", "-"], input=script, capture_output=True, text=True,
                              encoding="utf-8", timeout=LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        raise ReportError(f"gnuplot did not end within {LIMIT_S} s") from None
    except OSError as error:
        raise ReportError(f"{path} cannot be run: {error.strerror}") from error
    if done.returncode != 0:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise ReportError(f"gnuplot failed: {' / '.join(lines[-3:]) or 'it does not say why'}")


def _paint(element: ET.Element, names: tuple[str, ...]) -> None:
    """Colours become CSS variables; a font named by gnuplot would not be the page's."""
    style = []
    for attribute in ("fill", "stroke", "color"):
        value = element.get(attribute, "")
        sentinel = _RGB.match(value)
        if sentinel and 0 < int(sentinel[1]) <= len(names):
            style.append(f"{attribute}:var(--{names[int(sentinel[1]) - 1]})")
            del element.attrib[attribute]
        elif value == "black":
            element.set(attribute, "currentColor")
    if style:
        element.set("style", ";".join(style))
    element.attrib.pop("font-family", None)


def _prune(parent: ET.Element) -> None:
    """gnuplot names its parts for scripts that the page does not have, and leaves empty groups."""
    for child in list(parent):
        _prune(child)
        tag = child.tag.removeprefix(f"{{{_SVG}}}")
        child.attrib.pop("id", None)
        nothing = tag == "g" and len(child) == 0 and not (child.text or "").strip()
        if tag in ("title", "desc", "defs") or nothing:
            parent.remove(child)


def _clean(text: str, panel: Panel) -> tuple[str, str]:
    """The drawing, and the definitions that were in it."""
    root = ET.fromstring(text)
    found = root.find(f".//{{{_SVG}}}defs")
    shapes = [] if found is None else \
        [ET.tostring(shape, encoding="unicode").strip() for shape in found
         if not shape.tag.endswith("filter")]
    _prune(root)
    for element in root.iter():
        _paint(element, panel.colours)
        for name in ("text", "tail"):
            value = getattr(element, name)
            if value and not value.strip():
                setattr(element, name, None)
    root.attrib.pop("width", None)
    root.attrib.pop("height", None)
    root.set("role", "img")
    root.set("aria-label", panel.description)
    return ET.tostring(root, encoding="unicode"), "\n".join(shapes)


def draw(panels: list[Panel]) -> Drawn:
    """One gnuplot draws all. Raises ReportError when it is missing or fails."""
    ET.register_namespace("", _SVG)
    ET.register_namespace("xlink", _XLINK)
    drawn: dict[Panel, str] = {}
    definitions = ""
    with tempfile.TemporaryDirectory(prefix="report-") as name:
        folder = Path(name)
        _run(_script(panels, folder))
        for index, panel in enumerate(panels):
            path = folder / f"{index}.svg"
            try:
                svg, shapes = _clean(path.read_text(encoding="utf-8"), panel)
            except (OSError, ET.ParseError) as error:
                raise ReportError(f"gnuplot's drawing of \"{panel.description}\" cannot be used: "
                                  f"{error}") from error
            drawn[panel] = svg
            definitions = definitions or shapes
    return Drawn(drawn, definitions)
