"""The command line of bench/run."""
import argparse
import os
from dataclasses import dataclass
from pathlib import Path

from . import scenarios

USAGE = """\
examples:
  bench/run                                  a subset, about 6 minutes
  bench/run --full                           all of it, five times: hours
  bench/run --only postern,floor,accept-4k-s50
  bench/run --only 'postfix/tuned,durability'
  bench/run --resume bench/results/2026-11-23-1955
  bench/run --report bench/results/2026-11-23-1955
"""


@dataclass
class Options:
    mode: str = "quick"
    only: tuple[str, ...] = ()
    runs: int = 0                       # 0: as the mode says
    seconds: float = 0.0
    server_cpus: tuple[int, ...] = (0,)
    load_cpus: tuple[int, ...] = (1,)
    results: Path | None = None
    report: Path | None = None
    resume: Path | None = None
    build: Path | None = None
    systems: Path | None = None
    state: Path | None = None
    is_list: bool = False
    backlog: int = 0
    backlog_seconds: float = 0.0
    seed: int = 0
    accounting: str = "auto"
    has_report: bool = True

    def extent(self) -> scenarios.Extent:
        """The mode, with what was asked to be different."""
        base = scenarios.FULL if self.mode == "full" else scenarios.QUICK
        values = vars(base) | {name: value for name, value in (
            ("runs", self.runs), ("seconds", self.seconds), ("backlog", self.backlog),
            ("backlog_seconds", self.backlog_seconds)) if value}
        # Who asks for more than the mode has, or for the rest of it, has the time.
        if values != vars(base) or self.only or self.resume:
            values["seconds_max"] = 0.0
        return scenarios.Extent(**values)


def cpu_list(text: str) -> tuple[int, ...]:
    """0-3,8 as the kernel writes it."""
    cpus: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        try:
            low = int(first)
            high = int(last) if dash else low
        except ValueError:
            raise argparse.ArgumentTypeError(f"\"{text}\" is no list of CPUs, as 0-3,8") from None
        if not 0 <= low <= high < 4096:
            raise argparse.ArgumentTypeError(f"\"{part}\" is no range of CPUs")
        cpus.update(range(low, high + 1))
    return tuple(sorted(cpus))


def whole(text: str) -> int:
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"\"{text}\" is not a whole number from 1")
    return int(text)


def duration(text: str) -> float:
    """3, 3s, 300ms or 2m in seconds."""
    for unit, factor in (("ms", 0.001), ("s", 1.0), ("m", 60.0), ("", 1.0)):
        number = text.removesuffix(unit) if unit else text
        if unit and not text.endswith(unit):
            continue
        try:
            value = float(number) * factor
        except ValueError:
            break
        if 0.05 <= value <= 86400:
            return value
    raise argparse.ArgumentTypeError(f"\"{text}\" is no duration from 50ms to 1440m")


def patterns(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="bench/run", epilog=USAGE, formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Compares SMTP servers on this machine, all with one command: installs them "
                    "below build/, proves what each keeps, measures, and writes a report.")
    mode = made.add_mutually_exclusive_group()
    mode.add_argument("--quick", dest="mode", action="store_const", const="quick",
                      help="a subset, once, about 6 minutes (this is the default)")
    mode.add_argument("--full", dest="mode", action="store_const", const="full",
                      help="all scenarios, five times")
    add = made.add_argument
    add("--only", type=patterns, default=(), metavar="PATTERN,...",
        help="systems, rows and scenarios: postfix, postfix/tuned, 'accept-*', durability")
    add("--runs", type=whole, default=0, metavar="N", help="how often each figure is measured")
    add("--seconds", type=duration, default=0.0, metavar="DURATION",
        help="of load, for each figure")
    add("--server-cpus", type=cpu_list, metavar="LIST", help="of the measured system (0)")
    add("--load-cpus", type=cpu_list, metavar="LIST", help="of load and sink (1)")
    add("--backlog", type=whole, default=0, metavar="N", help="messages of the full queue")
    add("--backlog-seconds", type=duration, default=0.0, metavar="DURATION",
        help="how long filling it may take, for each system")
    add("--seed", type=whole, default=0, metavar="N", help="of the order (random, and recorded)")
    add("--accounting", choices=("auto", "v2", "v1", "tree"), default="auto",
        help="how processor time is counted (the best that can be had)")
    add("--results", type=Path, metavar="DIR", help="where to write (bench/results/DATE)")
    add("--resume", type=Path, metavar="DIR", help="go on with results that are incomplete")
    add("--report", type=Path, metavar="DIR", help="only make the reports of DIR again")
    add("--no-report", dest="has_report", action="store_false", help="only the JSON files")
    add("--build", type=Path, metavar="DIR", help="use this build instead of making one")
    add("--systems", type=Path, metavar="DIR", help="the systems' folders (bench/compare)")
    add("--state", type=Path, metavar="DIR",
        help="where queues are kept while they are measured (build/bench/state)")
    add("--list", dest="is_list", action="store_true", help="what there is, and nothing else")
    return made


def default_cpus(usable: list[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The first for the server and the second for the load; with one CPU they share it."""
    return (usable[0],), (usable[1 % len(usable)],)


def read(arguments: list[str]) -> Options:
    """Exits with 64 and a line when the arguments are wrong."""
    made = parser()
    made.error = lambda message: made.exit(64, f"bench/run: {message}; see bench/run --help\n")
    values = vars(made.parse_args(arguments))
    usable = sorted(os.sched_getaffinity(0))
    server, load = default_cpus(usable)
    values["server_cpus"] = values["server_cpus"] or server
    values["load_cpus"] = values["load_cpus"] or load
    for name in ("server_cpus", "load_cpus"):
        missing = sorted(set(values[name]) - set(usable))
        if missing:
            made.error(f"CPU {missing[0]} is not one that we may use ({usable})")
    if values["resume"] and values["results"]:
        made.error("--resume writes where it goes on; --results has no place beside it")
    values["mode"] = values["mode"] or "quick"
    return Options(**values)
