#!/usr/bin/env python3
"""Tests of bench/report over the small results in report_fixture/.

The figures of the report are computed here a second time, from the JSON and by the shortest way,
so that a mistake in one of the two shows. Plots are drawn only where gnuplot is installed.
"""
import contextlib
import html.parser
import io
import json
import os
import re
import shutil
import statistics
import sys
import tempfile
import unittest
import xml.etree.ElementTree as ET
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from bench import report  # noqa: E402
from bench.report import (charts, figures, gnuplot, losses, markdown, page, sections,  # noqa: E402
                          targets, wording)
from bench.report.__main__ import main  # noqa: E402
from bench.report.document import Code, Details, Opening, Plots, Table, spans  # noqa: E402
from bench.report.results import load  # noqa: E402

FIXTURE = Path(__file__).resolve().parent / "report_fixture"
HAS_GNUPLOT = shutil.which("gnuplot") is not None
S50 = "accept-4k-s50"


def raw(name, folder=FIXTURE):
    return json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))


def values(measurements, system, row, member):
    """{run: figure} of complete runs, straight from the JSON."""
    return {m["run"]: m[member] for m in measurements
            if (m["system"], m["row"], m["status"]) == (system, row, "ok")}


def middle(name, system, row, member="cpu_us_per_message"):
    return statistics.median(values(raw(name), system, row, member).values())


def text_of(block_text):
    return "".join(s if isinstance(s, str) else s.text for s in spans(block_text))


def fake_drawing(document):
    """What gnuplot would return, for tests of the page alone."""
    return gnuplot.Drawn({panel: "<svg></svg>" for panel in charts.panels(document)}, "")


class Case(unittest.TestCase):
    """A copy of the fixture that a test may change."""

    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory())) / "results"
        shutil.copytree(FIXTURE, self.folder)
        self.made = None

    def change(self, name, how):
        """`how` gets the parsed file and changes it in place."""
        path = self.folder / f"{name}.json"
        value = json.loads(path.read_text(encoding="utf-8"))
        how(value)
        path.write_text(json.dumps(value), encoding="utf-8")
        self.made = None

    def results(self):
        return load(self.folder)

    def document(self):
        """Kept until a file changes, for a test may look at hundreds of its cells."""
        if self.made is None:
            self.made = sections.document(self.results())
        return self.made

    def table(self, name):
        return next(block for block in self.document().blocks
                    if isinstance(block, Table) and block.name == name)

    def line(self, table_name, first_cell):
        return next(line for line in self.table(table_name).lines
                    if text_of(line.cells[0].text) == first_cell)

    def column(self, table_name, title, unit):
        return [(c.title, c.unit) for c in self.table(table_name).columns].index((title, unit))

    def cell(self, table_name, row, title, unit):
        return self.line(table_name, row).cells[self.column(table_name, title, unit)]


class Numbers(unittest.TestCase):
    def test_three_digits_that_matter(self):
        thin = wording.THIN
        for value, want in ((None, "–"), (0, "0"), (0.41234, "0.412"), (1.0, "1.00"),
                            (27.14, "27.1"), (99.96, "100"), (1041.6, f"1{thin}042"),
                            (1234567.0, f"1{thin}234{thin}567"), (0.0001, "0.0001"),
                            (0.9996, "1.00"), (9.996, "10.0"), (-3.0, "−3.00")):
            self.assertEqual(wording.number(value), want, value)

    def test_ratios_and_words(self):
        self.assertEqual(wording.times(34.26), "34.3×")
        self.assertEqual(wording.times(0.7), "0.70×")
        self.assertEqual(wording.times(0.00423), "0.004×")
        self.assertEqual(wording.listed(["a", "b", "c"]), "a, b and c")
        self.assertEqual(wording.sentence("done."), "done.")
        self.assertEqual(wording.plural(1, "run"), "1 run")
        self.assertEqual(wording.span(figures.Summary(1, 5, 5, 5)), "")

    def test_marks_of_axes(self):
        self.assertEqual(wording.mark(20.0), "20")
        self.assertEqual(wording.mark(0.3), "0.3")
        for low, high, room in ((17, 1100, 250), (0.39, 1500, 230), (800, 60000, 250),
                                (2, 2.5, 250), (1e-3, 1e9, 200)):
            places = charts.log_tics(low, high, room)
            self.assertTrue(places, (low, high))
            self.assertTrue(all(low <= place <= high for place in places) or len(places) == 0)

    def test_percentiles_from_buckets(self):
        buckets = [(1000, 50), (2000, 40), (3000, 9), (4000, 1)]
        flat = [least for least, count in buckets for _ in range(count)]
        for share in (0.5, 0.501, 0.9, 0.99, 0.991, 1.0):
            want = flat[max(1, -(-round(share * 1000) * len(flat) // 1000)) - 1]
            self.assertEqual(figures.percentile_ns(buckets, share), want, share)

    def test_labels_are_spread_but_stay_in_order(self):
        wanted = [0.5, 0.51, 0.49, 0.97, 0.99]
        places = charts.spread_labels(wanted, 0.06, 0.02, 0.98)
        order = sorted(range(5), key=lambda i: wanted[i])
        for a, b in zip(order, order[1:]):
            self.assertGreaterEqual(places[b] - places[a], 0.0599)
        self.assertTrue(all(0.0199 <= place <= 0.9801 for place in places))


class Tables(Case):
    def test_medians_and_ranges_of_every_row_and_scenario(self):
        """Every CPU and rate cell against the JSON: complete runs only."""
        results, seen = self.results(), 0
        for scenario in results.scenarios:
            measured = raw(scenario.name)
            for row in results.rows:
                for title, unit, member in (("CPU", "µs a message", "cpu_us_per_message"),
                                            ("messages", "1/s", "messages_per_s")):
                    want = list(values(measured, row.system, row.row, member).values())
                    if not want:
                        continue
                    cell = self.cell(scenario.name, row.name, title, unit)
                    self.assertEqual(cell.text, wording.number(statistics.median(want)))
                    spread = f"{wording.number(min(want))}–{wording.number(max(want))}"
                    self.assertEqual(cell.detail, spread if len(want) > 1 else "")
                    runs = self.line(scenario.name, row.name).cells[-1]
                    self.assertEqual(runs.text, str(len(want)))
                    seen += 1
        self.assertGreater(seen, 100)

    def test_ratios_are_of_medians(self):
        postfix, own = middle(S50, "postfix", "tuned"), middle(S50, "postern", "tuned")
        floor = middle(S50, "floor", "default")
        self.assertEqual(self.cell(S50, "Postfix tuned", "CPU", "× Postern").text,
                         wording.times(postfix / own))
        self.assertEqual(self.cell(S50, "Postern discard", "CPU", "× floor").text,
                         wording.times(middle(S50, "postern", "discard") / floor))

    def test_rows_that_do_not_count_are_in_no_ratio_with_mtas(self):
        for row in ("Exim tuned", "floor", "smtp-sink", "Postern discard", "Postfix default"):
            self.assertEqual(self.cell(S50, row, "CPU", "× Postern").text, "", row)
        self.assertEqual(self.cell(S50, "Exim tuned", "CPU", "× floor").text, "")
        self.assertIn("lost mail", self.line(S50, "Exim tuned").cells[0].detail)
        self.assertIn("floor only", self.line(S50, "Postern discard").cells[0].detail)

    def test_failed_durability_counts_no_more_than_lost(self):
        def fail(rows):
            for row in rows:
                if (row["system"], row["row"]) == ("haraka", "tuned"):
                    row["durability"] = {"verdict": "failed", "why": "it did not start again"}
        self.assertNotEqual(self.cell(S50, "Haraka tuned", "CPU", "× Postern").text, "")
        self.change("systems", fail)
        self.assertEqual(self.cell(S50, "Haraka tuned", "CPU", "× Postern").text, "")
        self.assertEqual(self.cell(S50, "Haraka tuned", "CPU", "× floor").text, "")
        self.assertIn("it did not start again", self.line("durability", "Haraka tuned")
                      .cells[1].detail)

    def test_partial_failed_and_unsupported_say_why(self):
        partial = self.line(S50, "Haraka tuned, run 2")
        self.assertIn("3 messages were refused", partial.cells[0].detail)
        self.assertIn("451 to 3", partial.cells[0].detail)
        self.assertEqual(partial.cells[-1].text, "partial")
        half = next(m for m in raw(S50) if m["status"] == "partial")["cpu_us_per_message"]
        self.assertEqual(partial.cells[1].text, wording.number(half))
        self.assertEqual(self.line(S50, "Haraka tuned").cells[-1].text, "2")
        self.assertIn("Run 3 failed: it did not greet", self.line(S50, "Postfix default")
                      .cells[0].detail)
        unsupported = self.line("tls-full", "OpenSMTPD tuned")
        self.assertIn("does not speak STARTTLS", unsupported.cells[0].detail)
        self.assertEqual(unsupported.cells[-1].text, "0")

    def test_where_the_load_was_the_limit_it_is_said(self):
        self.assertIn("load was the limit", self.line(S50, "floor").cells[0].detail)
        self.assertNotIn("load was the limit", self.line(S50, "Postern tuned").cells[0].detail)

    def test_fewer_sessions_idle_connections_and_queued_messages_are_said(self):
        self.assertIn("5 sessions", self.line(S50, "OpenSMTPD tuned").cells[0].detail)
        self.assertIn("100 of 10", self.line("idle-10000", "Postfix tuned").cells[0].detail)
        backlog = self.line("backlog-1000000", "Postfix tuned").cells[0].detail
        self.assertIn("180 s were over", backlog)

    def test_systems_that_are_not_here_are_named_with_the_reason(self):
        self.assertEqual(self.line("key", "Other <MTA>").cells[-1].text, "not available")
        text = markdown.render(self.document())
        self.assertIn("its package is not on this machine", text)

    def test_durability_table_has_the_kill_tests_figures(self):
        cells = self.line("durability", "Exim tuned").cells
        self.assertEqual([c.text for c in cells[1:7]],
                         ["lost mail", "389", "377", "12", "0", "0"])
        self.assertEqual(self.line("durability", "OpenSMTPD tuned").cells[-1].text, "no")
        self.assertEqual(self.line("durability", "Postfix default").cells[2].text, "–")

    def test_first_screen_has_ratios_of_best_rows(self):
        cells = self.line("key", "Postfix").cells
        ratio = middle(S50, "postfix", "tuned") / middle(S50, "postern", "tuned")
        self.assertEqual(cells[1].text, wording.times(ratio))
        opening = next(b for b in self.document().blocks if isinstance(b, Opening))
        self.assertIn(f"Postfix takes {wording.times(ratio)} as much", text_of(opening.lead))
        self.assertIn(wording.number(middle(S50, "postern", "tuned")), opening.title)
        self.assertNotIn("Exim", text_of(opening.lead))

    def test_order_is_postern_peers_marks(self):
        kinds = [row.kind for row in self.results().rows]
        self.assertEqual(kinds, sorted(kinds, key=("subject", "mta", "mark").index))
        self.assertEqual(text_of(self.table(S50).lines[0].cells[0].text), "Postern default")


class WhereWeLose(Case):
    def pairs(self):
        return {(loss.scenario.name, loss.figure.name, loss.peer.name)
                for loss in losses.find(self.results())}

    def expected(self):
        """The same by the shortest way: CPU, rate, memory and p99 from the JSON."""
        systems = {(r["system"], r["row"]): r for r in raw("systems", self.folder)}
        members = {"cpu": ("cpu_us_per_message", 1), "rate": ("messages_per_s", -1),
                   "memory": ("memory_bytes", 1), "p99": ("p99", 1)}
        found = set()
        for scenario in raw("machine", self.folder)["scenarios"]:
            for figure, (member, sign) in members.items():
                if figure == "rate" and scenario["group"] == "latency":
                    continue
                medians = {}
                for key, row in systems.items():
                    taken = [m["latency_us"]["p99"] if member == "p99" else m[member]
                             for m in raw(scenario["name"], self.folder)
                             if (m["system"], m["row"]) == key and m["status"] == "ok"]
                    if taken and row["durability"]["verdict"] == "kept" and row["kind"] != "mark":
                        medians[key] = sign * statistics.median(taken)
                own = min(v for (system, _), v in medians.items() if system == "postern")
                found |= {(scenario["name"], figure, f"{systems[k]['title']} {k[1]}")
                          for k, v in medians.items() if k[0] != "postern" and v < own}
        return found

    def test_all_losses_and_no_others(self):
        simple = {p for p in self.pairs() if p[1] in ("cpu", "rate", "memory", "p99")}
        self.assertEqual(simple, self.expected())
        self.assertTrue(simple)
        self.assertIn(("backlog-1000000", "restart", "Postfix tuned"), self.pairs())
        self.assertIn(("backlog-1000000", "relay_kept", "Haraka tuned"), self.pairs())

    def test_a_loss_appears_when_the_data_is_flipped_and_goes_again(self):
        name = (S50, "cpu", "Postfix tuned")
        self.assertNotIn(name, self.pairs())

        def flip(measurements):
            for m in measurements:
                if m["cpu_us_per_message"] and m["system"] in ("postfix", "postern"):
                    m["cpu_us_per_message"] = 30000 / m["cpu_us_per_message"]
        self.change(S50, flip)
        self.assertIn(name, self.pairs())
        self.assertEqual({p for p in self.pairs() if p[1] in ("cpu", "rate", "memory", "p99")},
                         self.expected())
        ours = statistics.median(values(raw(S50, self.folder), "postern", "default",
                                        "cpu_us_per_message").values())
        texts = [[text_of(c.text) for c in line.cells] for line in self.table("losses").lines]
        self.assertTrue(any("Postfix tuned" in line and wording.number(ours) in line
                            for line in texts))
        self.change(S50, flip)
        self.assertNotIn(name, self.pairs())

    def test_lost_mail_and_marks_beat_nobody(self):
        peers = {peer for _, _, peer in self.pairs()}
        self.assertNotIn("Exim tuned", peers)  # its restart is the fastest, and it lost mail
        self.assertFalse(peers & {"floor", "smtp-sink"})

    def test_none_is_said_with_the_figures_that_were_compared(self):
        def lose_nothing(rows):
            for row in rows:
                if row["kind"] == "mta" and row["row"] == "tuned" and row["system"] != "postfix":
                    row["durability"]["verdict"] = "lost"
        self.change("systems", lose_nothing)
        self.change("machine", lambda m: m.update(scenarios=m["scenarios"][:3]))
        self.assertEqual(losses.find(self.results()), [])
        text = markdown.render(self.document())
        self.assertIn("In no figure of this run", text)
        self.assertIn("CPU per message, messages per second, p99 and memory", text)

    def test_no_kill_test_means_that_nothing_is_claimed(self):
        def forget(rows):
            for row in rows:
                row["durability"] = {"verdict": "not run"}
        self.change("systems", forget)
        text = markdown.render(self.document())
        self.assertIn("None of Postern's rows counts", text)
        self.assertIn("No figure of Postern's counts", text)
        self.assertNotIn("In no figure of this run", text)

    def test_without_a_figure_of_ours_the_peers_is_a_loss(self):
        def fail(measurements):
            for m in measurements:
                if m["system"] == "postern":
                    m.update(status="failed", why="it died")
        self.change("tls-full", fail)
        self.assertIn(("tls-full", "cpu", "Postfix tuned"), self.pairs())
        self.assertIn("no complete run", markdown.render(self.document()))


class Targets(Case):
    def find(self, work, wanted):
        return next(t for t in targets.find(self.results())
                    if t.work.startswith(work) and t.wanted.startswith(wanted))

    def check(self, target, row, over, under, reached):
        """`over` and `under` are {run: figure}."""
        ratio = statistics.median(over.values()) / statistics.median(under.values())
        each = [over[run] / under[run] for run in over.keys() & under.keys()]
        judged = target.readings[0]
        self.assertEqual(judged.row.row, row)
        self.assertTrue(judged.figure.startswith(wording.times(ratio)), judged.figure)
        self.assertTrue(judged.spread.startswith(
            f"{wording.times(min(each))} to {wording.times(max(each))}"), judged.spread)
        self.assertEqual(judged.reached, reached(ratio))

    def cpu(self, name, system, row):
        return values(raw(name), system, row, "cpu_us_per_message")

    def test_against_the_floor(self):
        for work, name, limit in (("4 KiB, connections reused, 400", "accept-4k-s400", 1.3),
                                  ("4 KiB, connections reused, 50", S50, 1.7),
                                  ("50 KiB", "accept-50k-s50", 1.6),
                                  ("4 KiB, one conn", "accept-4k-oneconn", 1.5)):
            self.check(self.find(work, f"CPU ≤ {limit}"), "discard",
                       self.cpu(name, "postern", "discard"), self.cpu(name, "floor", "default"),
                       lambda ratio, limit=limit: ratio <= limit)

    def test_relaying_is_measured_by_the_accepting_floor(self):
        self.check(self.find("4 KiB, accept and relay", "CPU ≤ 2.5"), "tuned",
                   self.cpu("relay-4k-s50", "postern", "tuned"), self.cpu(S50, "floor", "default"),
                   lambda ratio: ratio <= 2.5)

    def test_against_postfix_and_smtp_sink(self):
        self.check(self.find("4 KiB, connections reused, 50", "CPU ≥ 30"), "tuned",
                   self.cpu(S50, "postfix", "tuned"), self.cpu(S50, "postern", "tuned"),
                   lambda ratio: ratio >= 30)
        self.check(self.find("4 KiB, connections reused, 50", "CPU less"), "discard",
                   self.cpu(S50, "smtp-sink", "default"), self.cpu(S50, "postern", "discard"),
                   lambda ratio: ratio > 1)

    def test_limits_of_our_own(self):
        """The fixture has each side of a limit."""
        self.assertEqual(self.find("an idle", "memory").verdict, targets.REACHED)
        self.assertEqual(self.find("1", "accept rate").verdict, targets.REACHED)
        self.assertEqual(self.find("1", "relay rate").verdict, targets.MISSED)
        self.assertEqual(self.find("1", "memory").readings[0].figure, "38.0 MiB")
        self.assertEqual(self.find("1", "restart").verdict, targets.REACHED)

    def test_a_target_turns_with_the_data(self):
        self.assertEqual(self.find("4 KiB, one conn", "CPU").verdict, targets.REACHED)

        def slower(measurements):
            for m in measurements:
                if m["system"] == "postern":
                    m["cpu_us_per_message"] *= 2
        self.change("accept-4k-oneconn", slower)
        self.assertEqual(self.find("4 KiB, one conn", "CPU").verdict, targets.MISSED)

    def test_what_was_not_measured_is_not_reached_silently(self):
        self.change("machine", lambda m: m.update(
            scenarios=[s for s in m["scenarios"] if s["group"] != "idle"]))
        self.assertEqual(self.find("an idle", "memory").verdict, targets.UNKNOWN)
        self.change("systems", lambda rows: [row["durability"].update(verdict="lost")
                                             for row in rows if row["system"] == "postfix"])
        target = self.find("4 KiB, connections reused, 50", "CPU ≥ 30")
        self.assertEqual(target.verdict, targets.UNKNOWN)
        self.assertIn("Postfix has no figure that counts", target.why_not)


class _Html(html.parser.HTMLParser):
    """Which tags and attributes there are, and whether they are balanced."""
    EMPTY = {"meta", "br", "img", "link", "input"}

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.attributes, self.wrong = set(), [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


class Escaping(Case):
    EVIL = "<script>alert('x')</script> \"&amp;\" `a` |b| *c* [d](e) </pre></table>"

    def setUp(self):
        super().setUp()
        evil = self.EVIL

        def rows(value):
            for row in value:
                row.update(title=evil + row["system"], row_title=evil, version=evil, why_not=evil,
                           notes=[evil], configuration=evil + "\n```\n````\n")
                row["durability"]["why"] = evil

        def measured(value):
            for m in value:
                if m["status"] != "ok":
                    m["why"] = evil
                    m["errors"] = {evil: 2}

        def machine(value):
            value.update(cpu=evil, kernel=evil, os=evil, device=evil, accounting=evil, postern=evil,
                         complete=False, why_incomplete=evil, date=evil)
            for scenario in value["scenarios"]:
                scenario.update(title=evil + scenario["name"], what=evil)
        self.change("systems", rows)
        self.change(S50, measured)
        self.change("machine", machine)

    def test_html_has_no_tag_from_data(self):
        document = self.document()
        text = page.render(document, fake_drawing(document))
        parsed = _Html(text)
        self.assertNotIn("script", parsed.tags)
        self.assertEqual((parsed.wrong, parsed.open), ([], []))
        self.assertIn("&lt;script&gt;", text)

    def test_markdown_has_no_markup_from_data(self):
        text = markdown.render(self.document())
        outside = re.sub(r"(?ms)^(`{3,})\n.*?^\1$", "", text)
        self.assertNotIn("<script", outside)
        self.assertNotIn("</pre>", outside)
        self.assertNotRegex(outside, r"(?<!\\)\[d\]")
        rest = re.sub(r"`(bench/run[^`]*|default|tuned|discard)`", "", outside)
        self.assertNotRegex(rest, r"(?<!\\)`")

    def test_tables_keep_their_columns(self):
        text = re.sub(r"(?ms)^(`{3,})\n.*?^\1$", "", markdown.render(self.document()))
        width = 0
        for line in text.splitlines():
            if not line.startswith("|"):
                width = 0
                continue
            cells = len(re.findall(r"(?<!\\)\|", line))
            self.assertEqual(cells, width or cells, line)
            width = cells

    def test_gnuplot_gets_strings_only(self):
        self.assertEqual(gnuplot.quoted("it's\n`x`"), "'it''s `x`'")
        self.assertEqual(gnuplot.tic("99 %"), "'99 %%'")

    @unittest.skipUnless(HAS_GNUPLOT, "gnuplot is not installed")
    def test_the_whole_report_is_made_of_such_data(self):
        html_path, _ = report.write(self.folder)
        self.assertNotIn("script", _Html(html_path.read_text(encoding="utf-8")).tags)


class Files(Case):
    def fails(self, pattern):
        with self.assertRaisesRegex(report.ReportError, pattern):
            self.results()

    def test_what_is_missing_is_named(self):
        for name in ("machine", "systems", S50):
            with self.subTest(name):
                path = self.folder / f"{name}.json"
                kept = path.read_bytes()
                path.unlink()
                self.fails(f"{name}.json is missing")
                path.write_bytes(kept)
        with self.assertRaisesRegex(report.ReportError, "is no folder"):
            load(self.folder / "nowhere")

    def test_an_incomplete_run_may_lack_scenarios(self):
        (self.folder / "tls-full.json").unlink()
        self.change("machine", lambda m: m.update(complete=False, why_incomplete="interrupted"))
        text = markdown.render(self.document())
        self.assertIn("not complete: interrupted", text)
        self.assertIn("This scenario was not measured", text)

    def test_what_is_wrong_is_named_with_its_place(self):
        cases = (
            ("machine", lambda v: v.pop("runs"), 'machine.json has no member "runs"'),
            ("machine", lambda v: v.update(runs="5"), '"runs" is "5"'),
            ("machine", lambda v: v["scenarios"][0].update(group="x"), 'scenario 1: "group"'),
            ("machine", lambda v: v["scenarios"][0].update(name="../x"), "no name of a file"),
            ("systems", lambda v: v[0].update(kind="mua"), 'member 1: "kind" is "mua"'),
            ("systems", lambda v: v[2]["durability"].update(verdict="?"), "member 3.*verdict"),
            ("systems", lambda v: v.append(v[0]), "twice"),
            (S50, lambda v: v[1].update(status="fine"), 'measurement 2: "status" is "fine"'),
            (S50, lambda v: v[0].update(system="qmail"), "qmail/.*systems.json does not have"),
            (S50, lambda v: v[0].update(cpu_us_per_message="9"), '"cpu_us_per_message" is "9"'),
            (S50, lambda v: v[0].update(run=0), "counted from 1"),
            (S50, lambda v: v.append(v[0]), "a second one"),
            ("latency-fixed", lambda v: v[0].update(buckets=[[1]]), "least nanoseconds"),
            (S50, lambda v: v[0].update(seconds=float("nan")), "not valid JSON.*NaN"),
        )
        for name, how, pattern in cases:
            with self.subTest(pattern):
                kept = (self.folder / f"{name}.json").read_bytes()
                self.change(name, how)
                self.fails(pattern)
                (self.folder / f"{name}.json").write_bytes(kept)
        self.results()

    def test_cut_and_huge_numbers_are_no_json(self):
        path = self.folder / f"{S50}.json"
        path.write_text(path.read_text(encoding="utf-8")[:100], encoding="utf-8")
        self.fails("not valid JSON")
        path.write_text('[{"seconds": 1e999}]', encoding="utf-8")
        self.fails("not valid JSON")

    def test_without_gnuplot_the_error_names_the_package_and_nothing_is_written(self):
        empty = self.folder.parent / "bin"
        empty.mkdir()
        with mock.patch.dict(os.environ, PATH=str(empty)):
            with self.assertRaisesRegex(report.ReportError, "gnuplot-nox"):
                report.write(self.folder)
            errors = io.StringIO()
            with contextlib.redirect_stderr(errors):
                self.assertEqual(main([str(self.folder)]), 1)
                self.assertEqual(main([]), 64)
            self.assertIn("gnuplot-nox", errors.getvalue())
        self.assertEqual(list(self.folder.glob("report.*")), [])

    def test_a_gnuplot_that_fails_is_an_error(self):
        bad = self.folder.parent / "gnuplot"
        bad.write_text("#!/bin/sh\ncat >/dev/null\necho 'line 7: no such thing' >&2\nexit 1\n")
        bad.chmod(0o755)
        path = f"{bad.parent}:{os.environ['PATH']}"
        with mock.patch.dict(os.environ, PATH=path):
            with self.assertRaisesRegex(report.ReportError, "line 7: no such thing"):
                report.write(self.folder)


class Page(Case):
    def test_one_run_needs_no_spread(self):
        self.change("machine", lambda m: m.update(runs=1, mode="quick"))
        for scenario in raw("machine")["scenarios"]:
            self.change(scenario["name"], lambda v: v.__setitem__(
                slice(None), [m for m in v if m["run"] == 1]))
        text = markdown.render(self.document())
        self.assertIn("With one run there is no spread", text)
        self.assertIn("bench/run --quick", text)
        self.assertEqual(self.cell(S50, "Postern tuned", "CPU", "µs a message").detail, "")

    def test_how_to_repeat_it_and_the_machine_are_said(self):
        text = markdown.render(self.document())
        machine = raw("machine")
        for want in ("`bench/run --full --runs 3`", machine["kernel"], machine["file_system"],
                     "cgroup v1", "85.0 µs (80.0 to 200)", "Postfix 3.7.11"):
            self.assertIn(want, text)

    def test_every_configuration_is_there(self):
        listed = [block for block in self.document().blocks if isinstance(block, Details)]
        wanted = [row for row in raw("systems") if row["configuration"].strip()]
        self.assertEqual(len(listed), len(wanted))

    def test_a_run_that_measured_nothing_still_has_a_report(self):
        for scenario in raw("machine")["scenarios"]:
            self.change(scenario["name"], lambda v: v.clear())
        document = self.document()
        text = page.render(document, fake_drawing(document))
        self.assertIn("No figure of Postern", text)
        self.assertEqual(charts.panels(document), [])

    def test_links_go_somewhere_and_nothing_is_fetched(self):
        document = self.document()
        parsed = _Html(page.render(document, fake_drawing(document)))
        ids = [value for name, value in parsed.attributes if name == "id"]
        self.assertEqual(len(ids), len(set(ids)))
        for name, value in parsed.attributes:
            if name == "href":
                self.assertIn(value.removeprefix("#"), ids)
            self.assertNotIn(name, ("src", "onclick", "onload"))
        self.assertNotIn("@import", page.STYLE.read_text(encoding="utf-8"))
        self.assertNotIn("url(", page.STYLE.read_text(encoding="utf-8"))

    def test_no_span_is_left_out(self):
        self.assertEqual(markdown.inline(("a ", Code("b`c"), "")), "a ``b`c``")


class Drawing(Case):
    def test_colours_and_order_are_the_same_in_every_plot(self):
        results = self.results()
        seen = {}
        for row in results.rows:
            colour = charts.colour(results, row)
            self.assertEqual(seen.setdefault(row.system, colour), colour)
        self.assertEqual(len(set(seen.values())), len(seen))
        self.assertEqual(seen["postern"], "own")
        self.assertTrue(seen["floor"].startswith("mark"))
        css = page.STYLE.read_text(encoding="utf-8")
        for name in (*seen.values(), *gnuplot.INKS):
            self.assertEqual(len(re.findall(rf"--{name}:", css)), 2, f"--{name}: light and dark")

    def test_logarithmic_only_over_a_decade(self):
        results = self.results()
        scenario = results.scenario(S50)
        made = charts.entries(results, scenario, figures.CPU)
        self.assertIn("set logscale", charts.bars(figures.CPU, made, "t").script)
        near = [entry for entry in made if entry.value.median < 100]
        self.assertNotIn("set logscale", charts.bars(figures.CPU, near, "t").script)
        self.assertNotIn("set logscale", charts.bars(figures.CPU, made, "t", True).script)

    def test_partial_runs_are_not_drawn(self):
        results = self.results()
        made = charts.entries(results, results.scenario(S50), figures.CPU)
        haraka = next(entry for entry in made if entry.label == "Haraka")
        self.assertEqual(haraka.value.count, 2)
        self.assertTrue(next(e for e in made if e.label.startswith("Exim")).is_hollow)

    def test_curves_end_where_the_messages_do(self):
        one = charts.curve("x", "own", [(1_000_000, 600)])
        self.assertAlmostEqual(one.points[-1][0], 600, delta=1)
        self.assertEqual(len(one.named), 3)
        self.assertEqual(len(charts.curve("x", "own", [(1_000_000, 20000)]).named), 5)

    @unittest.skipUnless(HAS_GNUPLOT, "gnuplot is not installed")
    def test_the_drawings_have_every_label_and_value(self):
        document = self.document()
        panels = charts.panels(document)
        drawn = gnuplot.draw(panels)
        self.assertGreater(len(panels), 15)
        for panel in panels:
            svg = ET.fromstring(drawn.svg[panel])
            texts = ["".join(e.itertext()).strip() for e in svg.iter() if e.tag.endswith("}text")]
            for label in re.findall(r"^set (?:label|ytics add \() ?'((?:[^']|'')*)'",
                                    panel.script, re.M):
                self.assertIn(label.replace("''", "'").replace("%%", "%"), texts,
                              panel.description)
            self.assertNotIn("rgb(", drawn.svg[panel], panel.description)
            self.assertNotIn("id=", drawn.svg[panel])
        self.assertIn("gpPt7", drawn.definitions)

    @unittest.skipUnless(HAS_GNUPLOT, "gnuplot is not installed")
    def test_write_makes_both_files(self):
        paths = report.write(self.folder)
        self.assertEqual([path.name for path in paths], ["report.html", "report.md"])
        text = paths[0].read_text(encoding="utf-8")
        parsed = _Html(text)
        self.assertEqual((parsed.wrong, parsed.open), ([], []))
        plots = sum(len(b.panels) for b in self.document().blocks if isinstance(b, Plots)) + 1
        self.assertEqual(text.count("<figure>"), plots)
        uses = set(re.findall(r'xlink:href="#(\w+)"', text))
        ids = re.findall(r'id="(\w+)"', text)
        self.assertTrue(uses <= set(ids), uses - set(ids))
        self.assertEqual(len(ids), len(set(ids)))


if __name__ == "__main__":
    unittest.main()
