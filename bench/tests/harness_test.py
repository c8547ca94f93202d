#!/usr/bin/env python3
"""bench/run and its parts: arithmetic, the contract of bench/compare, systems that misbehave.

    harness_test.py BUILD_DIR
"""
import argparse
import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import unittest
from dataclasses import replace
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
sys.dont_write_bytecode = True

from bench.harness import (accounting, build, durability, idle, machine, measure,  # noqa: E402
                           options, plan, processes, results, scenarios, server, session, systems,
                           table)
from bench.harness.context import Context  # noqa: E402
from bench.harness.errors import BenchError  # noqa: E402

BUILD = Path(sys.argv.pop(1)).resolve() if len(sys.argv) > 1 else ROOT / "build" / "release"
# A server of a few lines: what it does at its end of a message is put in.
FAKE_SERVER = """\
#!/usr/bin/env python3
import os, socketserver
class Handler(socketserver.StreamRequestHandler):
    def say(self, text):
        self.wfile.write(text.encode() + b"\\r\\n")
    def handle(self):
        self.say("220 fake")
        for line in self.rfile:
            verb = line.split()[0].upper() if line.split() else b""
            if verb == b"DATA":
                self.say("354 go")
                while self.rfile.readline() not in (b".\\r\\n", b""):
                    pass
                AT_DOT
            elif verb == b"QUIT":
                self.say("221 bye")
                return
            else:
                self.say("250 ok")
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128
Server(("127.0.0.1", int(os.environ["BENCH_PORT"])), Handler).serve_forever()
"""
SYSTEM_TOML = """\
title = "Fake"
kind = "mta"
modes = ["queue", "relay"]
tls = []
needs_root = false
pipelining = false
sessions_max = 0
syncs_on_accept = true
[rows.default]
title = "as installed"
"""


def scratch() -> Path:
    """A folder on the disk of the build: a temporary folder may be memory."""
    parent = BUILD / "bench"
    parent.mkdir(exist_ok=True)
    return Path(tempfile.mkdtemp(prefix="harness-test.", dir=parent))


def write_script(path: Path, text: str) -> None:
    path.write_text(textwrap.dedent(text))
    path.chmod(0o755)


def make_system(folder: Path, start: str, install: str = "#!/bin/sh\necho Fake 1\n",
                toml: str = SYSTEM_TOML) -> Path:
    folder.mkdir(parents=True)
    (folder / "system.toml").write_text(toml)
    write_script(folder / "install", install)
    write_script(folder / "start", start)
    write_script(folder / "stop", "#!/bin/sh\nexit 0\n")
    write_script(folder / "check", "#!/bin/sh\necho 7\n")
    return folder


class Statistics(unittest.TestCase):
    def entry(self, run, rate, status="ok"):
        return {"scenario": "accept-4k-s50", "system": "a", "row": "tuned", "run": run,
                "status": status, "messages_per_s": rate}

    def test_the_median_counts_only_what_is_ok(self):
        with tempfile.TemporaryDirectory() as folder:
            made = results.Results(Path(folder), {}, [], {})
            for run, rate, status in ((1, 10.0, "ok"), (2, 30.0, "ok"), (3, 20.0, "ok"),
                                      (4, 9999.0, "partial"), (5, None, "failed")):
                made.add(self.entry(run, rate, status))
            self.assertEqual(made.median("accept-4k-s50", "a", "tuned", "messages_per_s"), 20.0)
            self.assertIsNone(made.median("accept-4k-s50", "a", "default", "messages_per_s"))
            on_disk = json.loads((Path(folder) / "accept-4k-s50.json").read_text())
            self.assertEqual(len(on_disk), 5)
            self.assertTrue(made.has("accept-4k-s50", "a", "tuned", 5))
            self.assertFalse(made.has("accept-4k-s50", "a", "tuned", 6))

    def test_a_load_with_losses_is_partial(self):
        good = {"partial": False, "refused": 0, "lost": 0, "errors": {}, "bad_replies": 0}
        self.assertEqual(measure.why_partial(good), "")
        for change, text in (({"partial": True, "end": "timeout"}, "timeout"),
                             ({"refused": 3, "errors": {"452": 3}}, "3 messages were refused (452"),
                             ({"lost": 2}, "2 messages were not answered"),
                             ({"bad_replies": 1}, "not of SMTP")):
            self.assertIn(text, measure.why_partial(good | change))

    def test_figures_of_a_load(self):
        record = {}
        report = {"messages": 1000, "seconds": 2.0, "bytes": 1000 << 20, "errors": {},
                  "cpu": {"user_s": 0.2, "system_s": 0.3},
                  "message_latency": {"count": 1000, "p50_us": 1, "p90_us": 2, "p99_us": 3,
                                      "p999_us": 4, "max_us": 5}}
        measure.fill_load(record, report, argparse.Namespace(load_cpus=[1, 2]))
        self.assertEqual(record["messages_per_s"], 500)
        self.assertEqual(record["mib_per_s"], 500)
        self.assertEqual(record["load_cpu_us_per_message"], 500)
        self.assertAlmostEqual(record["load_cpu_share"], 0.125)
        self.assertEqual(record["latency_us"]["p999"], 4)

    def test_nothing_is_divided_by_nothing(self):
        record = {}
        measure.fill_load(record, {"messages": 0, "seconds": 0.0}, argparse.Namespace(
            load_cpus=[1]))
        self.assertIsNone(record["messages_per_s"])
        self.assertIsNone(record["load_cpu_us_per_message"])
        self.assertIsNone(record["latency_us"])

    def test_the_table_shows_what_has_no_figure(self):
        made = results.Results(Path("/"), {"scenarios": [{"name": "accept-4k-s50", "title": "t"}]},
                               [{"system": "a", "row": "tuned", "available": True,
                                 "durability": {"verdict": "kept"}},
                                {"system": "b", "row": "tuned", "available": False,
                                 "why_not": "no such package", "durability": {"verdict": "x"}}],
                               {"accept-4k-s50": [self.entry(1, None, "failed")]})
        text = "\n".join(table.lines(made))
        self.assertIn("failed", text)
        self.assertIn("not here: b/tuned: no such package", text)


class Options(unittest.TestCase):
    def test_values(self):
        self.assertEqual(options.cpu_list("0-2,5"), (0, 1, 2, 5))
        self.assertEqual(options.duration("300ms"), 0.3)
        self.assertEqual(options.duration("3s"), 3.0)
        self.assertEqual(options.duration("2m"), 120.0)
        self.assertEqual(options.duration("4"), 4.0)
        self.assertEqual(options.whole("7"), 7)

    def test_bad_values(self):
        for parse, values in ((options.cpu_list, ("", "x", "3-1", "-1", "1,,2", "9999")),
                              (options.duration, ("", "s", "1h", "-3s", "nan", "0", "1e9")),
                              (options.whole, ("", "0", "-1", "1.5", "x"))):
            for value in values:
                with self.subTest(value=value), self.assertRaises(argparse.ArgumentTypeError):
                    parse(value)

    def test_wrong_lines_end_with_64(self):
        for line in (["--nothing"], ["--runs", "0"], ["--quick", "--full"],
                     ["--server-cpus", "4000"], ["--resume", "a", "--results", "b"]):
            said = io.StringIO()
            with self.subTest(line=line), self.assertRaises(SystemExit) as ended:
                with contextlib.redirect_stderr(said):
                    options.read(line)
            self.assertTrue(said.getvalue().startswith("bench/run: "))
            self.assertEqual(ended.exception.code, 64)

    def test_the_mode_and_what_is_asked_to_differ(self):
        self.assertEqual(options.read([]).extent(), scenarios.QUICK)
        full = options.read(["--full", "--runs", "2", "--seconds", "1s"]).extent()
        self.assertEqual((full.name, full.runs, full.seconds), ("full", 2, 1.0))
        self.assertEqual(full.scenarios, scenarios.FULL.scenarios)

    def test_only_the_bare_quick_has_a_time_limit(self):
        self.assertGreater(options.read(["--quick"]).extent().seconds_max, 0)
        for line in (["--full"], ["--runs", "3"], ["--only", "a"], ["--resume", "x"]):
            self.assertEqual(options.read(line).extent().seconds_max, 0, line)

    def test_one_cpu_is_shared(self):
        self.assertEqual(options.default_cpus([3]), ((3,), (3,)))
        self.assertEqual(options.default_cpus([2, 5, 7]), ((2,), (5,)))


def fake_rows():
    """a (mta: default, tuned), m (a mark) and x (not available), as systems."""
    made = []
    for name, kind, names, modes in (("a", "mta", ("default", "tuned"), ["queue", "relay"]),
                                     ("m", "mark", ("default",), ["discard"]),
                                     ("x", "mta", ("default",), ["queue"])):
        system = systems.System(name, Path("/nowhere"), name.upper(), kind, [], False, True, 0,
                                True, False, [], why_not="gone" if name == "x" else "")
        system.rows = [systems.Row(row, row, None, modes, kind != "mark", [], system)
                       for row in names]
        made.append(system)
    return made


class Plan(unittest.TestCase):
    def steps(self, only=(), extent=scenarios.QUICK, seed=1):
        chosen = plan.select(only, extent, fake_rows())
        return [(scenario.name, run, row.key)
                for scenario, run, row in plan.order(chosen, extent, seed, only)]

    def test_who_takes_part(self):
        steps = self.steps()
        self.assertIn(("accept-4k-s50", 1, "a/default"), steps)
        self.assertNotIn(("accept-4k-s400", 1, "a/default"), steps)
        self.assertIn(("accept-4k-s400", 1, "m/default"), steps)
        self.assertNotIn(("relay-4k-s50", 1, "m/default"), steps)
        self.assertFalse([step for step in steps if step[2].startswith("x/")])

    def test_who_has_a_kill_test(self):
        rows = {row.key: row for system in fake_rows() for row in system.rows}
        for key, quick, full in (("a/tuned", True, True), ("a/default", False, True),
                                 ("m/default", False, False), ("x/default", False, False)):
            self.assertEqual(plan.has_kill_test(rows[key], scenarios.QUICK, ()), quick, key)
            self.assertEqual(plan.has_kill_test(rows[key], scenarios.FULL, ()), full, key)
        self.assertTrue(plan.has_kill_test(rows["a/default"], scenarios.QUICK, ("a/default",)))

    def test_a_named_row_is_measured_everywhere(self):
        self.assertIn(("accept-4k-s400", 1, "a/default"), self.steps(("a/default",)))

    def test_patterns(self):
        self.assertEqual({name for name, _, _ in self.steps(("relay-*",))},
                         {"relay-4k-s50", "relay-50k-s50", "relay-4k-oneconn"})
        self.assertEqual({row for _, _, row in self.steps(("m", "accept-4k-s50"))}, {"m/default"})
        self.assertEqual(self.steps(("durability",)), [])
        with self.assertRaisesRegex(BenchError, "no such system"):
            self.steps(("postfux",))

    def test_the_order_is_shuffled_and_repeatable(self):
        full = scenarios.FULL
        first, again, other = (self.steps((), full, seed) for seed in (1, 1, 2))
        self.assertEqual(first, again)
        self.assertNotEqual(first, other)
        self.assertEqual(sorted(first), sorted(other))
        orders = {tuple(row for name, at, row in first if (name, at) == (scenario, run))
                  for scenario in full.scenarios for run in range(1, 6)}
        orders = {order for order in orders if len(order) == 3}
        self.assertGreater(len(orders), 3)

    def test_runs_come_in_rounds_and_the_backlog_once(self):
        steps = self.steps((), scenarios.FULL)
        runs = [run for _, run, _ in steps]
        self.assertEqual(runs, sorted(runs))
        self.assertEqual({run for name, run, _ in steps if name.startswith("backlog")}, {1})
        self.assertEqual({run for name, run, _ in steps if name == "accept-4k-s50"},
                         {1, 2, 3, 4, 5})

    def test_every_scenario_has_a_way_to_be_measured(self):
        for scenario in scenarios.ALL:
            self.assertIn(scenario.group, session.HOW)
        self.assertLessEqual(set(scenarios.QUICK.scenarios), set(scenarios.BY_NAME))


class TimeLimit(unittest.TestCase):
    def test_what_has_no_place_is_left_out_and_said(self):
        one = session.Session.__new__(session.Session)
        one.extent = replace(scenarios.QUICK, seconds_max=1.0)
        one.options = options.Options(seed=1)
        one.selection = plan.select((), one.extent, fake_rows())
        one.results = mock.Mock()
        one.results.has.return_value = False
        one.left_out = 0
        one.installed = time.monotonic() - 2.0
        with mock.patch.object(measure, "take") as take:
            one.measure()
        take.assert_not_called()
        self.assertGreater(one.left_out, 5)
        self.assertIn(f"{one.left_out} measurements had no place", one.why_incomplete())


class Accounting(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def test_texts_of_the_kernel(self):
        self.assertEqual(accounting.parse_usage("nr 1\nusage_usec 123\nuser_usec 5\n"), 123)
        with self.assertRaises(BenchError):
            accounting.parse_usage("user_usec 5\n")
        self.assertEqual(accounting.parse_rollup(
            "55-66 ---p 00000000 00:00 0 [rollup]\nRss: 90 kB\nPss: 80 kB\nPss_Anon: 30 kB\n"
            "Pss_File: 40 kB\nPss_Shmem: 10 kB\nSwapPss: 1 kB\n"), 41 * 1024)
        self.assertEqual(accounting.own_path("5:cpu,cpuacct:/a/b\n0::/c\n", "cpuacct"), "a/b")
        self.assertEqual(accounting.own_path("5:cpu,cpuacct:/a/b\n0::/c\n", ""), "c")
        self.assertEqual(accounting.mounts("cgroup /sys/x cgroup rw,cpuacct 0 0\nbad\n"),
                         [("cgroup", Path("/sys/x"), {"rw", "cpuacct"})])

    def test_groups_read_their_files(self):
        unified = accounting.UnifiedGroup("a", self.folder / "a")
        (unified.path / "cgroup.procs").write_text("12\n13\n")
        (unified.path / "cpu.stat").write_text("usage_usec 77\n")
        self.assertEqual((unified.pids(), unified.cpu_us()), ([12, 13], 77))
        legacy = accounting.LegacyGroup("b", self.folder / "b", None)
        (legacy.cpuacct / "cpuacct.usage").write_text("123456789\n")
        self.assertEqual(legacy.cpu_us(), 123456)

    def test_a_process_with_a_nasty_name(self):
        tail = "S 5 1 1 0 -1 0 0 0 0 0 10 20 3 4 20 0 1 0 999 0 0"
        process = accounting.Process(f"42 (a) b) ( {tail}".replace(" ( ", ") "))
        self.assertEqual((process.pid, process.parent, process.own_ticks, process.waited_ticks,
                          process.started), (42, 5, 30, 7, 999))
        for text in ("", "42 (x) Z 5 " + "0 " * 30, "42 (x) S 5"):
            with self.assertRaises(ValueError):
                accounting.Process(text)

    def test_a_tree_follows_children_and_orphans(self):
        def put(pid, parent, ticks=1, started=100):
            (self.folder / str(pid)).mkdir(exist_ok=True)
            (self.folder / str(pid) / "stat").write_text(
                f"{pid} (x) S {parent} " + "0 " * 9 + f"{ticks} 0 0 0 0 0 0 0 {started} 0")
        put(10, 1), put(11, 10), put(12, 11), put(20, 1)
        group = accounting.TreeGroup("t", self.folder)
        group.adopt(10)
        self.assertEqual(sorted(group.pids()), [10, 11, 12])
        shutil.rmtree(self.folder / "11")
        put(12, 1)  # an orphan now
        self.assertEqual(sorted(group.pids()), [10, 12])
        put(12, 1, started=500)  # another process with the same number
        self.assertEqual(group.pids(), [10])

    def test_real_groups_count_and_kill_everything(self):
        for wish in ("v2", "v1", "tree"):
            with self.subTest(wish=wish):
                try:
                    made = accounting.Accounting(wish)
                except BenchError as error:
                    self.assertIn(wish, str(error))  # not root: only the tree can be had
                    continue
                self.addCleanup(made.close)
                group = made.create("g")
                child = processes.spawn(
                    ["/bin/sh", "-c", "(while :; do :; done) & (while :; do :; done) & wait"],
                    group, sorted(os.sched_getaffinity(0)))
                # As long as it takes: a busy machine gives them little.
                deadline = time.monotonic() + 60
                while ((len(group.pids()) < 3 or group.cpu_us() <= 100_000)
                       and time.monotonic() < deadline):
                    time.sleep(0.05)
                self.assertGreaterEqual(len(group.pids()), 3)
                self.assertGreater(group.cpu_us(), 100_000)
                self.assertGreater(group.memory_bytes(), 0)
                made.end(group)
                child.wait()
                self.assertEqual(group.pids(), [])
                made.close()


class PutAway(unittest.TestCase):
    """What an instance leaves behind is removed, but many files only at the end of the run."""

    def put_away(self, count: int) -> tuple[bool, int]:
        """(whether the folder is gone, how many folders wait) after one with `count` files."""
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary, "server")
            (folder / "queue").mkdir(parents=True)
            for number in range(count):
                (folder / "queue" / str(number)).touch()
            server.put_away(folder)
            attic = Path(temporary, server.ATTIC)
            return not folder.exists(), len(list(attic.iterdir())) if attic.exists() else 0

    def test_few_files_go_at_once_and_many_wait(self):
        self.assertEqual(self.put_away(3), (True, 0))
        self.assertEqual(self.put_away(server.FILES_MANY), (True, 1))


class Machine(unittest.TestCase):
    def test_a_file_system_without_a_journal_is_named(self):
        with tempfile.TemporaryDirectory() as temporary:
            Path(temporary, "sda1-8").mkdir()
            for device, text in (("sda1", "ext4"), ("mapper/sda1", "ext4"),
                                 ("sda", "ext4 without a journal")):
                self.assertEqual(machine.describe_file_system("ext4", device, Path(temporary)),
                                 text)
            self.assertEqual(machine.describe_file_system("xfs", "sda", Path(temporary)), "xfs")

    INFO = ("1 0 8:1 / / rw - ext4 /dev/vda rw\n2 1 0:5 / /tmp rw - tmpfs tmpfs rw\n"
            "3 1 0:6 / /data rw shared:1 - xfs /dev/vdb rw\nbroken\n")

    def test_the_file_system_of_a_path(self):
        for path, want in (("/srv", ("ext4", "vda")), ("/tmp/x/y", ("tmpfs", "tmpfs")),
                           ("/data", ("xfs", "vdb")), ("/database", ("ext4", "vda"))):
            self.assertEqual(machine.mount_of(Path(path), self.INFO), want)

    def test_memory_is_refused(self):
        with mock.patch.object(machine, "read", return_value=self.INFO):
            with self.assertRaisesRegex(BenchError, "tmpfs: it is memory"):
                machine.check_disk(Path("/tmp/x"))

    def test_a_build_that_fails_shows_the_end_of_its_log(self):
        folder = scratch()
        self.addCleanup(shutil.rmtree, folder)
        with self.assertRaisesRegex(BenchError, "building failed(?s:.)*it is broken"):
            build.run_logged(["sh", "-c", "echo it is broken; exit 1"], folder / "log", folder,
                             "building")
        with self.assertRaisesRegex(BenchError, "has no postern"):
            build.check_build(folder)

    def test_a_folder_with_a_mount_is_not_removed(self):
        folder = scratch()
        self.addCleanup(shutil.rmtree, folder)
        with self.assertRaisesRegex(BenchError, "is mounted"):
            server.check_is_disposable(folder, f"tmpfs {folder}/spool tmpfs rw 0 0\n")
        server.check_is_disposable(folder, f"tmpfs {folder}-other tmpfs rw 0 0\nbad\n")

    def test_flush_latency(self):
        folder = scratch()
        self.addCleanup(shutil.rmtree, folder)
        took = machine.flush_latency(folder, 5)
        self.assertTrue(0 < took["min"] <= took["median"] <= took["max"])
        self.assertEqual(list(folder.iterdir()), [])


class Contract(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def test_every_system_keeps_it(self):
        found = [folder for folder in (ROOT / "bench" / "compare").iterdir() if folder.is_dir()]
        self.assertIn("postern", [folder.name for folder in found])
        for folder in found:
            with self.subTest(system=folder.name):
                self.assertEqual(systems.check_folder(folder)[1], [])

    def test_shell_scripts_parse(self):
        for path in (ROOT / "bench" / "compare").glob("*/*"):
            if path.name in systems.SCRIPTS and "bash" in path.read_text().split("\n")[0]:
                done = subprocess.run(["bash", "-n", path], capture_output=True, check=False)
                self.assertEqual(done.returncode, 0, done.stderr)

    def test_what_is_wrong_is_said(self):
        for name, change, text in (
                ("a", ("kind = \"mta\"\n", ""), "\"kind\" is missing"),
                ("b", ("\"mta\"", "\"toy\""), "kind must be one of"),
                ("c", ("tls = []", "tls = [\"ssl\"]"), "tls has \"ssl\""),
                ("d", ("sessions_max = 0", "sessions_max = true"), "type int"),
                ("e", ("title = \"Fake\"", "titel = \"Fake\""), "\"titel\" is not known"),
                ("f", ("[rows.default]\ntitle = \"as installed\"", "[rows]"), "there is no row"),
                ("g", ("\"as installed\"", "\"x\"\nfile = \"x.cf\""), "no file x.cf"),
                ("h", ("title", "="), "system.toml")):
            folder = make_system(self.folder / name, "#!/bin/sh\n",
                                 toml=SYSTEM_TOML.replace(*change, 1))
            self.assertIn(text, "; ".join(systems.check_folder(folder)[1]), name)

    def test_scripts_must_be_executable(self):
        folder = make_system(self.folder / "a", "#!/bin/sh\n")
        (folder / "stop").chmod(0o644)
        (folder / "check").unlink()
        wrong = systems.check_folder(folder)[1]
        self.assertEqual(wrong, ["a/stop is not executable", "a/check is missing"])
        # It does not end the run: it is a row that says so.
        found = systems.read_all(self.folder)
        self.assertFalse(found[0].available)
        self.assertIn("not executable", found[0].why_not)


class Books(unittest.TestCase):
    """The kill test's arithmetic."""

    def test_a_cut_line_does_not_count(self):
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"a-1 d 10 250 1\na-2 d 10 451 1\na-3 d 10 lost 0\n"
                       b"a-4 d 10 250 1\na-5 d 10 25")
            file.flush()
            self.assertEqual(durability.count_fates(Path(file.name)), (2, 1))
        self.assertEqual(durability.count_fates(Path("/nowhere")), (0, 0))

    def test_when_to_kill(self):
        for elapsed, answered, want in ((0.4, 100000, False), (0.6, 0, False), (0.6, 500, True),
                                        (0.6, 399, False), (0.6, 30000, False), (1.5, 40000, True)):
            self.assertEqual(durability.is_time_to_kill(elapsed, answered), want)

    def test_verdicts(self):
        good = {"lost": 0, "doubled": 3, "altered": 0}
        for change, is_quiet, want in (({}, True, "kept"), ({"lost": 1}, True, "lost"),
                                       ({"lost": 1}, False, "failed"),
                                       ({"altered": 1}, True, "lost"),
                                       ({"recipients_missing": 1}, True, "lost")):
            result = durability.verdict_of(100, good | change, is_quiet)
            self.assertEqual(result["verdict"], want)
            self.assertEqual(result["found"], 100 - result["lost"])
            self.assertEqual(bool(result["why"]), want != "kept")

    def test_the_line_of_idle_connections(self):
        self.assertEqual(idle.held_of("holding 997 of 1000\n"), 997)
        for line in (None, "", "holding on", "holding x of 3", "something 1 of 3"):
            self.assertIsNone(idle.held_of(line))


class Misbehaving(unittest.TestCase):
    """Systems that fail in each of their ways, with the real load."""

    def setUp(self):
        self.folder = scratch()
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        made = accounting.Accounting()
        self.addCleanup(made.close)
        cpus = sorted(os.sched_getaffinity(0))
        state = self.folder / "state"
        state.mkdir()
        self.context = Context(ROOT, BUILD, state, made, cpus, cpus,
                               server.base_environment(ROOT, BUILD))

    def system(self, start, **more):
        return systems.read_system(make_system(self.folder / "systems" / "fake", start, **more))

    def take(self, start, name="accept-4k-s50", seconds=0.3, **more):
        row = self.system(start, **more).rows[0]
        scenario = scenarios.BY_NAME[name]
        job = measure.Job(scenario, row, 1, seconds, scenarios.QUICK)
        record = measure.take(job, self.context, session.HOW[scenario.group])
        self.assertEqual(list(self.context.state_folder.iterdir()), [], "what it left")
        self.assertEqual(self.context.accounting.groups, [])
        return record

    def install(self, text):
        system = self.system("#!/bin/sh\n", install=text)
        systems.install(system, lambda script, seconds: processes.run(
            self.context.accounting, "install", [script], self.context.load_cpus, seconds,
            env=self.context.environment))
        return system

    def test_an_install_that_cannot(self):
        system = self.install(
            "#!/bin/sh\necho noise >&2\necho 'there is no such package' >&2\nexit 69\n")
        self.assertEqual(system.why_not, "there is no such package")
        self.assertEqual(results.system_entry(system.rows[0])["available"], False)

    def test_an_install_that_fails(self):
        self.assertIn("failed with status 3: broken", self.install(
            "#!/bin/sh\necho broken >&2\nexit 3\n").why_not)

    def test_an_install_without_a_version(self):
        self.assertIn("no version", self.install("#!/bin/sh\nexit 0\n").why_not)

    def test_an_install_that_hangs(self):
        with mock.patch.object(systems, "INSTALL_SECONDS_MAX", 0.3):
            self.assertIn("did not end", self.install("#!/bin/sh\nsleep 60\n").why_not)

    def test_an_install_that_is_no_program(self):
        self.assertIn("cannot be run", self.install("#!/no/such/shell\n").why_not)

    def test_a_start_that_cannot_run_here(self):
        record = self.take("#!/bin/sh\necho 'it needs CAP_SYS_ADMIN' >&2\nexit 69\n")
        self.assertEqual((record["status"], record["why"]), ("failed", "it needs CAP_SYS_ADMIN"))

    def test_a_start_that_dies(self):
        record = self.take("#!/bin/sh\necho 'bad configuration' >$BENCH_STATE/log\nexit 3\n")
        self.assertEqual(record["status"], "failed")
        self.assertIn("status 3 before it greeted; its log ends with: bad configuration",
                      record["why"])
        self.assertIsNone(record["messages_per_s"])

    def test_one_that_never_greets(self):
        with mock.patch.object(server, "GREETING_SECONDS_MAX", 0.5):
            record = self.take("#!/bin/sh\nexec sleep 60\n")
        self.assertIn("did not greet with 220 in 0.5 s", record["why"])

    def test_one_that_is_no_smtp_server(self):
        record = self.take(FAKE_SERVER.replace('"220 fake"', '"HTTP/1.1 400 what"'))
        self.assertEqual(record["status"], "failed")
        self.assertIn("answers \"HTTP/1.1 400 what\"", record["why"])

    def test_one_that_refuses_everything(self):
        record = self.take(FAKE_SERVER.replace("AT_DOT", 'self.say("451 no")'))
        self.assertEqual(record["status"], "failed")
        self.assertIn("took no message", record["why"])
        self.assertIn("451", record["why"])

    def test_one_that_dies_under_load(self):
        at_dot = "global N; N = globals().get('N', 0) + 1; self.say('250 ok')\n" + (
            " " * 16 + "if N > 400: os._exit(5)")
        record = self.take(FAKE_SERVER.replace("AT_DOT", at_dot), seconds=2.0)
        self.assertIn(record["status"], ("partial", "failed"))
        self.assertIn("it ended while it was", record["why"])

    def test_one_that_refuses_some(self):
        at_dot = "global N; N = globals().get('N', 0) + 1\n" + " " * 16 + (
            "self.say('250 ok' if N % 3 else '452 full')")
        record = self.take(FAKE_SERVER.replace("AT_DOT", at_dot))
        self.assertEqual(record["status"], "partial")
        self.assertIn("refused (452", record["why"])
        self.assertGreater(record["messages_per_s"], 0)

    def test_a_good_one(self):
        record = self.take(FAKE_SERVER.replace("AT_DOT", "self.say('250 ok')"))
        self.assertEqual((record["status"], record["why"]), ("ok", ""))
        self.assertGreater(record["cpu_us_per_message"], 1)
        self.assertGreater(record["memory_bytes"], 1 << 20)
        self.assertGreaterEqual(record["memory_bytes"], record["memory_before_bytes"])
        self.assertEqual(record["sessions"], 50)

    def test_few_sessions_for_those_that_need_it(self):
        record = self.take(FAKE_SERVER.replace("AT_DOT", "self.say('250 ok')"),
                           toml=SYSTEM_TOML.replace("sessions_max = 0", "sessions_max = 5"))
        self.assertEqual((record["status"], record["sessions"]), ("ok", 5))

    def test_one_without_tls(self):
        record = self.take("#!/bin/sh\nexit 1\n", "tls-full")
        self.assertEqual(record["status"], "unsupported")
        self.assertIn("STARTTLS", record["why"])

    def test_one_that_relays_nothing(self):
        with mock.patch.object(measure, "RELAY_QUIET_SECONDS", 0.5):
            record = self.take(FAKE_SERVER.replace("AT_DOT", "self.say('250 ok')"), "relay-4k-s50")
        self.assertEqual(record["status"], "failed")
        self.assertIn("nothing arrived at the next hop", record["why"])

    def test_the_kill_test_finds_a_liar(self):
        row = self.system(FAKE_SERVER.replace("AT_DOT", "self.say('250 ok')")).rows[0]
        with mock.patch.object(durability, "QUIET_SECONDS", 0.5):
            result = durability.run(self.context, row)
        self.assertEqual(result["verdict"], "lost")
        self.assertEqual(result["lost"], result["answered"])
        self.assertGreater(result["answered"], 100)
        self.assertEqual(list(self.context.state_folder.iterdir()), [])

    def test_the_kill_test_of_one_that_answers_nothing(self):
        row = self.system(FAKE_SERVER.replace("AT_DOT", "self.say('451 no')")).rows[0]
        with mock.patch.object(durability, "LOAD_SECONDS_MAX", 1.0):
            result = durability.run(self.context, row)
        self.assertEqual(result["verdict"], "failed")
        self.assertIn("answered no message", result["why"])

    def test_a_mark_has_no_kill_test(self):
        toml = SYSTEM_TOML.replace('"queue", "relay"', '"discard"')
        row = self.system("#!/bin/sh\n", toml=toml).rows[0]
        self.assertEqual(durability.run(self.context, row)["verdict"], "none")

    def test_processes_that_hide_end_too(self):
        start = ("#!/bin/sh\nsetsid sh -c 'trap \"\" TERM INT HUP; while :; do sleep 1; done' &\n"
                 "exec sleep 60\n")
        with mock.patch.object(server, "GREETING_SECONDS_MAX", 0.5):
            self.take(start)
        self.assertEqual(self.context.accounting.groups, [])

    def test_a_check_and_a_stop(self):
        row = self.system(FAKE_SERVER.replace("AT_DOT", "self.say('250 ok')")).rows[0]
        with server.Server(self.context, row, "server") as one:
            one.start("queue")
            self.assertEqual(one.check(), 7)
            with mock.patch.object(server, "STOP_SECONDS_MAX", 0.3):
                self.assertIn("did not end", one.stop())
            self.assertFalse(one.is_alive())


class WholeRun(unittest.TestCase):
    """bench/run itself, with the floor and Postern."""

    def setUp(self):
        self.folder = scratch()
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.results = self.folder / "results"
        self.base = [ROOT / "bench" / "run", "--build", BUILD, "--no-report",
                     "--state", self.folder / "state"]

    def run_it(self, *arguments, want=0):
        done = subprocess.run([*self.base, *arguments], capture_output=True, text=True, timeout=180,
                              check=False)
        self.assertEqual(done.returncode, want, done.stderr[-3000:])
        return done

    def read(self, name):
        return json.loads((self.results / f"{name}.json").read_text())

    def test_a_small_run(self):
        done = self.run_it("--results", self.results, "--seconds", "300ms", "--only",
                           "floor,postern/tuned,accept-4k-s50")
        self.assertIn("accept-4k-s50", done.stdout)
        records = {r["system"]: r for r in self.read("accept-4k-s50")}
        self.assertEqual(sorted(records), ["floor", "postern"])
        for record in records.values():
            self.assertEqual((record["status"], record["why"]), ("ok", ""))
            self.assertGreater(record["messages"], 20)
            self.assertAlmostEqual(record["messages_per_s"], record["messages"] / record["seconds"],
                                   delta=1)
            self.assertGreater(record["cpu_us_per_message"], 1)
            self.assertGreater(record["load_cpu_share"], 0)
        entries = {e["system"]: e for e in self.read("systems")}
        self.assertEqual(entries["floor"]["durability"]["verdict"], "none")
        kept = entries["postern"]["durability"]
        self.assertEqual(kept["verdict"], "kept", kept)
        self.assertEqual(kept["found"], kept["answered"])
        self.assertGreater(kept["answered"], 100)
        about = self.read("machine")
        self.assertFalse(about["complete"])
        self.assertIn("only a part", about["why_incomplete"])
        self.assertGreater(about["plan"]["seed"], 0)
        # All is there already: going on adds nothing.
        self.run_it("--resume", self.results)
        self.assertEqual(len(self.read("accept-4k-s50")), 2)
        # And what is there is not written over.
        again = self.run_it("--results", self.results, "--only", "floor", want=1)
        self.assertIn("--resume", again.stderr)

    def test_an_interrupted_run_is_kept_and_gone_on_with(self):
        arguments = ["--results", self.results, "--seconds", "300ms", "--runs", "3", "--only",
                     "floor,accept-4k-s50"]
        process = subprocess.Popen([*self.base, *arguments], stderr=subprocess.PIPE,
                                   stdout=subprocess.PIPE, text=True)
        for line in process.stderr:
            if line.startswith("[1/3]"):
                break
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 128 + signal.SIGTERM)
        self.assertIn("incomplete: it was interrupted", out)
        about = self.read("machine")
        self.assertEqual((about["complete"], about["why_incomplete"]),
                         (False, "it was interrupted"))
        self.assertLess(len(self.read("accept-4k-s50")), 3)
        left = [p for p in accounting.look().values()
                if str(self.folder) in accounting.read(Path(f"/proc/{p.pid}/cmdline"))]
        self.assertEqual([p.pid for p in left], [])
        self.run_it("--resume", self.results)
        self.assertEqual([r["run"] for r in self.read("accept-4k-s50")], [1, 2, 3])

    def test_wrong_folders(self):
        self.assertIn("machine.json is missing", self.run_it(
            "--resume", self.folder, want=1).stderr)
        self.assertIn("is no folder", self.run_it("--report", self.folder / "x", want=1).stderr)

    def test_the_list(self):
        out = self.run_it("--list").stdout
        self.assertIn("postern/discard", out)
        self.assertIn("backlog-1000000", out)


if __name__ == "__main__":
    unittest.main(verbosity=1)
