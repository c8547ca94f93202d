"""A whole run: set up, prove, measure, write, report."""
import fcntl
import os
import secrets
import signal
import sys
import time
from pathlib import Path

from . import (backlog, build, durability, idle, machine, measure, options as command_line, plan,
               processes, results, scenarios, systems, table)
from .accounting import Accounting
from .context import Context
from .errors import BenchError, Interrupted
from .server import ATTIC, base_environment, remove_tree

ROOT = Path(__file__).resolve().parents[2]
HOW = {"accept": measure.accept, "latency": measure.accept, "tls": measure.accept,
       "relay": measure.relay, "idle": idle.measure, "backlog": backlog.measure}
INTERRUPTED = "it was interrupted"
KEPT_ON_RESUME = ("mode", "only", "runs", "seconds", "backlog", "backlog_seconds", "seed")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def on_signal(number, _frame):
    """Once: what comes while we clean up must not stop that."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    say("\nbench/run: ending; what was measured is kept")
    raise Interrupted(number)


class Lock:
    """One run at a time: a second would be measured by the first, and the other way round."""

    def __init__(self, folder: Path):
        self.file = open(folder / "lock", "w")
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.file.close()
            raise BenchError(f"another bench/run is at work in {folder}") from None

    def close(self):
        self.file.close()


class Session:
    """Owns everything that a run has open; close() ends it."""

    def __init__(self, options: command_line.Options):
        self.options = options
        self.begun = time.monotonic()
        self.installed = self.begun  # from when on the time of --quick counts
        self.seconds_before = 0.0
        self.left_out = 0
        self.state = (options.state or ROOT / "build" / "bench" / "state").resolve()
        self.state.mkdir(parents=True, exist_ok=True)
        self.disk = machine.check_disk(self.state)
        self.lock = Lock(self.state)
        self.accounting = self.results = None

    def close(self) -> None:
        try:
            if self.accounting is not None:
                self.accounting.close()
        finally:
            for left in self.state.iterdir():
                if left.is_dir() and left.name in ("server", ATTIC):
                    remove_tree(left)
            self.lock.close()

    # --- before ---

    def prepare(self) -> None:
        """Everything that can be wrong from the start, before anything takes time."""
        if self.options.resume:
            self._resume_options()
        self.all_systems = systems.read_all(self.options.systems or ROOT / "bench" / "compare")
        self.extent = self.options.extent()
        self.selection = plan.select(self.options.only, self.extent, self.all_systems)
        if self.options.build:
            build.check_build(self.options.build.resolve())
            folder = self.options.build.resolve()
        else:
            say("bench/run: packages and the release build")
            build.setup(ROOT)
            folder = build.make(ROOT)
        self.accounting = Accounting(self.options.accounting)
        self.context = Context(ROOT, folder, self.state, self.accounting,
                               list(self.options.server_cpus), list(self.options.load_cpus),
                               base_environment(ROOT, folder))
        # What we do ourselves must not take from what is measured.
        os.sched_setaffinity(0, self.context.load_cpus)
        self.context.certificate, self.context.key = build.make_certificate(self.state)

    def _resume_options(self):
        """A run goes on as it was begun."""
        self.results = results.Results.resume(self.options.resume.resolve())
        kept = self.results.machine.get("plan")
        if not kept:
            raise BenchError(f"{self.options.resume}: machine.json does not say what was planned")
        for name in KEPT_ON_RESUME:
            value = kept[name]
            setattr(self.options, name, tuple(value) if name == "only" else value)
        self.seconds_before = self.results.machine.get("seconds", 0.0)

    def install(self) -> None:
        wanted = {row.system.name for row in self.selection.rows}
        for system in self.all_systems:
            if system.name not in wanted:
                continue
            if not system.is_broken:
                say(f"bench/run: installing {system.title}")
            systems.install(system, self._run_install)
            if not system.available:
                say(f"bench/run: {system.title} is not here: {system.why_not}")
        self.installed = time.monotonic()

    def _run_install(self, script: Path, seconds: float):
        # Fetching packages may need a proxy's address and the like: all of the caller's variables.
        return processes.run(self.accounting, "install", [script], self.context.load_cpus, seconds,
                             env=dict(os.environ) | self.context.environment)

    # --- the files ---

    def begin_results(self) -> None:
        facts = machine.facts(self.context, *self.disk)
        if self.results is not None:
            self._check_is_same(facts)
            self._refresh_systems()
            return
        folder = self.options.results
        if folder is None:
            folder = results.dated_folder(ROOT / "bench" / "results")
        else:
            folder.mkdir(parents=True, exist_ok=True)
            if (folder / "machine.json").exists():
                raise BenchError(f"{folder} has results already; go on with --resume {folder}, or "
                                 "name another folder")
        self.options.seed = self.options.seed or secrets.randbelow(1 << 31) + 1
        extent = self.extent
        planned = {"mode": extent.name, "only": list(self.options.only), "runs": extent.runs,
                   "seconds": extent.seconds, "backlog": extent.backlog,
                   "backlog_seconds": extent.backlog_seconds, "seed": self.options.seed}
        about = {"date": measure.utc_now(), "mode": extent.name, "runs": extent.runs} | facts | {
            "seconds": 0.0, "complete": False, "why_incomplete": INTERRUPTED,
            "scenarios": results.scenario_list(self.selection.scenarios), "plan": planned}
        entries = [results.system_entry(row) for row in self.selection.rows]
        self.results = results.Results(folder.resolve(), about, entries, {})
        self.results.write_systems()
        self.save_machine(INTERRUPTED)

    def _check_is_same(self, facts: dict):
        for name in ("postern", "kernel", "cpu", "server_cpus", "load_cpus", "accounting"):
            before = self.results.machine.get(name)
            if before != facts[name]:
                raise BenchError(f"these results cannot be gone on with: \"{name}\" was {before} "
                                 f"and is {facts[name]} now")

    def _refresh_systems(self):
        """What could not be had before may be there now; what was proven stays."""
        entries = []
        for row in self.selection.rows:
            entry = results.system_entry(row)
            before = self.results.system(row.system.name, row.name)
            if before is not None and before["version"] == entry["version"]:
                entry["durability"] = before["durability"]
            entries.append(entry)
        self.results.systems = entries
        self.results.write_systems()

    def save_machine(self, why: str) -> None:
        spent = self.seconds_before + time.monotonic() - self.begun
        self.results.machine |= {"seconds": round(spent, 1), "complete": not why,
                                 "why_incomplete": why}
        self.results.write_machine()

    # --- the work ---

    def prove(self) -> None:
        """The kill tests, before any figure."""
        for row in self.selection.rows:
            entry = self.results.system(row.system.name, row.name)
            if not row.system.available or entry["durability"]["verdict"] != "not run":
                continue
            if row.discards:
                entry["durability"] = durability.run(self.context, row)
            elif plan.has_kill_test(row, self.extent, self.options.only):
                entry["durability"] = durability.run(self.context, row)
                say(f"kill test  {row.key:22} {describe_durability(entry['durability'])}")
            self.results.write_systems()

    def measure(self) -> None:
        most = self.extent.seconds_max
        steps = plan.order(self.selection, self.extent, self.options.seed, self.options.only)
        for number, (scenario, run, row) in enumerate(steps, 1):
            if self.results.has(scenario.name, row.system.name, row.name, run):
                continue
            if most and time.monotonic() - self.installed > most:
                self.left_out = len(steps) - number + 1
                return
            job = measure.Job(scenario, row, run, self.extent.seconds, self.extent,
                              self._half_rate(row))
            record = measure.take(job, self.context, HOW[scenario.group])
            self.results.add(record)
            self.save_machine(INTERRUPTED)
            say(f"[{number}/{len(steps)}] {scenario.name:20} {row.key:22} {describe(record)}")

    def _half_rate(self, row) -> float:
        return self.results.median("accept-4k-s50", row.system.name, row.name,
                                   "messages_per_s") or 0.0

    def why_incomplete(self) -> str:
        if self.selection.is_part:
            return f"only a part was asked for: {', '.join(self.options.only)}"
        if self.left_out:
            return (f"{self.left_out} measurements had no place in the "
                    f"{self.extent.seconds_max:g} s of --{self.extent.name}; bench/run --resume "
                    "takes them")
        return ""


def describe(record: dict) -> str:
    """A measurement as a line."""
    if not record["messages"]:
        return f"{record['status']}: {record['why']}"[:200]
    text = f"{record['messages_per_s']:9,.0f} msg/s"
    if record["cpu_us_per_message"] is not None:
        text += f" {record['cpu_us_per_message']:9,.1f} us CPU a message"
    if record["status"] != "ok":
        text += f"  {record['status']}: {record['why']}"
    return text[:220]


def describe_durability(result: dict) -> str:
    text = f"{result['verdict']}: {result['found']} of {result['answered']} found"
    return f"{text}; {result['why']}"[:220] if result["why"] else text


def write_report(folder: Path) -> bool:
    """False, with a line, when it cannot be made: the figures are there all the same."""
    try:
        from bench import report
    except ImportError as error:
        say(f"bench/run: no report: {error}")
        return False
    try:
        report.write(folder)
    except Exception as error:  # it tells its reasons as exceptions of its own
        say(f"bench/run: no report: {error}")
        return False
    return True


def list_all(options: command_line.Options) -> int:
    print("systems and rows:")
    for system in systems.read_all(options.systems or ROOT / "bench" / "compare"):
        if system.is_broken:
            print(f"  {system.name:24} unusable: {system.why_not}")
        for row in system.rows if not system.is_broken else ():
            print(f"  {row.key:24} {system.title}, {row.title}")
    print("scenarios (* in --quick too):")
    quick = command_line.Options().extent().scenarios
    for scenario in scenarios.ALL:
        mark = "*" if scenario.name in quick else " "
        print(f" {mark}{scenario.name:24} {scenario.title}")
    print(" *durability               the kill test")
    return 0


def finish(session: Session, why: str) -> None:
    """The end of a run that measured something, complete or not."""
    session.save_machine(why)
    folder = session.results.folder
    has_report = session.options.has_report and write_report(folder)
    print("\n".join(table.lines(session.results)))
    if why:
        print(f"incomplete: {why}")
    print(f"figures: {folder}")
    if has_report:
        print(f"report:  {folder / 'report.html'}")


def work(session: Session) -> int:
    """Returns the exit status."""
    try:
        session.prepare()
        session.install()
        session.begin_results()
        session.prove()
        session.measure()
    except Interrupted as interruption:
        if session.results is not None:
            session.accounting.close()
            finish(session, INTERRUPTED)
        return 128 + interruption.number
    finish(session, session.why_incomplete())
    return 0 if any(entry["available"] for entry in session.results.systems) else 1


def main(arguments: list[str]) -> int:
    options = command_line.read(arguments)
    try:
        if options.is_list:
            return list_all(options)
        if options.report:
            if not options.report.is_dir():
                raise BenchError(f"{options.report} is no folder")
            done = write_report(options.report.resolve())
            if done:
                print(options.report / "report.html")
            return 0 if done else 1
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, on_signal)
        session = Session(options)
        try:
            return work(session)
        finally:
            session.close()
    except (BenchError, OSError) as error:
        say(f"bench/run: {error}")
        return 1
    except Interrupted as interruption:
        return 128 + interruption.number
