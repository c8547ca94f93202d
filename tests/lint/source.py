"""What the lints share: the files of the tree, and C text without comments and strings."""

import re
import sys
from pathlib import Path

# Of the top folder: not ours, or made by a build.
SKIPPED_FOLDERS = {".git", "build", "var", "__pycache__"}

PRODUCT_FOLDERS = ("ring", "store", "resolver", "server")
CODE_FOLDERS = PRODUCT_FOLDERS + ("bench", "tests")
FUZZ_CORPUS = ("tests", "fuzz", "corpus")  # bytes that a fuzzer chose


def tree_files(root):
    """Every file of the project, as paths relative to `root`, in a stable order."""
    found = []
    for path in sorted(Path(root).rglob("*")):
        relative = path.relative_to(root)
        if SKIPPED_FOLDERS.intersection(relative.parts) or relative.parts[:3] == FUZZ_CORPUS:
            continue
        if path.is_file() and not path.is_symlink():
            found.append(relative)
    return found


def c_files(root, folders=CODE_FOLDERS):
    return [
        path
        for path in tree_files(root)
        if path.suffix in (".c", ".h") and path.parts[0] in folders
    ]


TOKEN = re.compile(
    r"""(?P<comment>/\*.*?\*/|//[^\n]*)
      | (?P<string>"(?:\\.|[^"\\\n])*")
      | (?P<char>'(?:\\.|[^'\\\n])+')""",
    re.VERBOSE | re.DOTALL,
)


def code_only(text):
    """`text` with comments, strings and character constants emptied; lines keep their numbers."""

    def blank(match):
        kept = "\n" * match.group(0).count("\n")
        if match.lastgroup == "string":
            return '""' + kept
        return kept or " "

    return TOKEN.sub(blank, text)


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1


def read(root, path):
    return (Path(root) / path).read_text(encoding="utf-8", errors="surrogateescape")


def report(name, problems):
    """Prints the problems and returns the exit status."""
    for problem in problems:
        print(problem)
    print(f"{name}: {len(problems)} problems" if problems else f"{name}: ok")
    return 1 if problems else 0


def main(name, check):
    if len(sys.argv) != 2:
        print(f"usage: {sys.argv[0]} ROOT", file=sys.stderr)
        sys.exit(64)
    sys.exit(report(name, check(Path(sys.argv[1]))))
