#!/usr/bin/env python3
"""Runs load against sink: a good run is found good, and each kind of bad one bad.

tools_test.py BIN_DIR
"""
import json
import os
import signal
import socket
import subprocess
import sys
import time

sys.dont_write_bytecode = True  # nothing is left in the source tree

import runner

BIN = sys.argv[1]
MIX = "0:5,1KiB:40,4KiB:35,50KiB:15,1MiB:4,5MiB:1"


class Sink:
    """A sink on a free port; its final report is in `report` after end()."""

    def __init__(self, *options, listen="127.0.0.1:0"):
        self.process = subprocess.Popen(
            [os.path.join(BIN, "sink"), "--listen", listen, *options],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        line = self.process.stdout.readline()
        assert line.startswith("ready "), line
        self.address = line.split()[1]

    def say(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def report_now(self):
        self.process.send_signal(signal.SIGUSR1)
        return json.loads(self.process.stdout.readline())

    def end(self, want_exit=0):
        self.process.send_signal(signal.SIGTERM)
        out, _ = self.process.communicate(timeout=30)
        assert self.process.returncode == want_exit, self.process.returncode
        self.report = json.loads(out)
        return self.report

    def kill(self):
        self.process.kill()
        self.process.communicate()


def start_load(address, *options):
    command = [os.path.join(BIN, "load"), "--to", address, "--timeout", "60s", *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def end_load(process, want_exit=0):
    out, err = process.communicate(timeout=90)
    assert process.returncode == want_exit, (process.returncode, err, out)
    return json.loads(out)


def load(address, *options, want_exit=0):
    return end_load(start_load(address, *options), want_exit)


def is_good(report, count):
    assert report["received"] == report["distinct"] == count, report
    for key in "doubled", "altered", "without_id", "lost", "unexpected", "wrong_digest", "unknown":
        assert report[key] == 0, (key, report)
    assert report["ok"] is True


def test_mixed_messages_arrive_once_and_unaltered(ledger):
    for options in (["--pipelining", "on"], ["--pipelining", "off"],
                    ["--messages-per-connection", "7"]):
        sink = Sink("--ledger", ledger)
        report = load(sink.address, "--sessions", "20", "--messages", "2000", "--size-mix", MIX,
                      "--ledger", ledger, *options)
        assert report["messages"] == 2000 and not report["partial"], report
        assert report["reply_latency"]["count"] == 2000
        is_good(sink.end(), 2000)
        os.unlink(ledger)


def test_many_recipients(ledger):
    sink = Sink("--ledger", ledger)
    load(sink.address, "--messages", "200", "--recipients", "300", "--ledger", ledger)
    is_good(sink.end(), 200)


def test_a_50_mib_message_streams(ledger):
    sink = Sink("--ledger", ledger)
    report = load(sink.address, "--sessions", "2", "--messages", "4", "--size", "50MiB",
                  "--ledger", ledger)
    assert report["bytes"] == 4 * 50 * 2**20
    with open(f"/proc/{sink.process.pid}/status") as status:
        peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    # A sanitizer's shadow memory counts too; a whole message a session would be 100 MiB more.
    assert peak < 100 * 1024 or "san" in BIN, peak
    is_good(sink.end(), 4)


def test_each_fault_is_found(ledger):
    for fault, key in ("lose", "lost"), ("double", "doubled"), ("alter", "altered"):
        sink = Sink("--ledger", ledger, "--fault", f"{fault}:5%")
        load(sink.address, "--messages", "1000", "--ledger", ledger)
        report = sink.end(want_exit=1)
        assert report["ok"] is False and 10 < report[key] == report["faults"] < 150, report
        os.unlink(ledger)


def test_refusals_are_not_expected_to_arrive(ledger):
    for stage in "rcpt", "data", "dot":
        for pipelining in "on", "off":
            sink = Sink("--ledger", ledger, "--reject-rate", "4yz:10%,5yz:5%", "--reject-at",
                        stage)
            report = load(sink.address, "--messages", "1000", "--ledger", ledger, "--pipelining",
                          pipelining)
            assert 50 < report["refused"] < 300 and report["lost"] == 0, report
            assert report["errors"]["451"] + report["errors"]["554"] == report["refused"]
            is_good(sink.end(), 1000 - report["refused"])
            os.unlink(ledger)


def test_dropped_connections_are_lost_replies(ledger):
    sink = Sink("--ledger", ledger, "--drop-after-dot", "2%")
    report = load(sink.address, "--messages", "1000", "--ledger", ledger, "--reconnect")
    final = sink.end()
    assert report["lost"] == final["dropped"] == final["unanswered"] > 0, (report, final)
    is_good(final, 1000 - report["lost"])


def test_a_lost_connection_ends_a_run_that_may_not_reconnect(ledger):
    sink = Sink("--mode", "drop-after-dot")
    report = load(sink.address, "--sessions", "3", "--messages", "100", want_exit=1)
    assert report["partial"] and report["lost"] == 3, report
    sink.end()


def test_modes_change_while_it_runs(ledger):
    sink = Sink("--ledger", ledger)
    sink.say("mode refuse451")
    sink.say("report")
    assert json.loads(sink.process.stdout.readline())["received"] == 0
    first = load(sink.address, "--messages", "100", "--ledger", ledger)
    assert first["errors"] == {"451": 100}, first
    sink.say("mode ok")
    sink.say("latency 30ms")
    sink.say("report")
    sink.process.stdout.readline()
    second = load(sink.address, "--messages", "20", "--sessions", "20", "--ledger", ledger)
    assert second["messages"] == 20 and second["reply_latency"]["p50_us"] > 30000, second
    assert sink.report_now()["received"] == 20
    is_good(sink.end(), 20)


def test_a_script_changes_modes_in_time(ledger):
    script = ledger + ".script"
    with open(script, "w") as file:
        file.write("# first refuse\n0s mode refuse554\n\n300ms mode ok\n")
    sink = Sink("--script", script)
    report = load(sink.address, "--rate", "200/s", "--messages", "150")
    assert 10 < report["errors"]["554"] < 140 and report["messages"] > 10, report
    sink.end()


def test_a_killed_sink_and_its_ledgers(ledger):
    record = ledger + ".record"
    sink = Sink("--record", record)
    address = sink.address
    process = start_load(address, "--messages", "0", "--sessions", "8", "--reconnect",
                         "--ledger", ledger, "--sync-ledger", "--until-killed-ok")
    for _ in range(3):
        time.sleep(0.3)
        sink.kill()
        time.sleep(0.1)
        sink = Sink("--record", record, listen=address)
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    report = end_load(process)
    assert report["end"] == "stopped" and report["messages"] > 100, report
    sink.end()
    done = subprocess.run([os.path.join(BIN, "sink"), "--compare", ledger, record],
                          stdout=subprocess.PIPE, text=True)
    joined = json.loads(done.stdout)
    assert done.returncode == 0 and joined["ok"] is True, joined
    assert joined["accepted"] == report["messages"], (joined, report)
    # Without the last part of the record something must be missing.
    with open(record) as file:
        lines = file.readlines()
    with open(record, "w") as file:
        file.writelines(lines[:-50])
    done = subprocess.run([os.path.join(BIN, "sink"), "--compare", ledger, record],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert done.returncode == 1 and json.loads(done.stdout)["lost"] > 0


def test_a_killed_load_leaves_its_ledger(ledger):
    sink = Sink("--ledger", ledger, "--latency", "1ms")
    process = start_load(sink.address, "--messages", "0", "--ledger", ledger, "--sync-ledger")
    time.sleep(0.4)
    process.kill()
    process.communicate()
    final = sink.end()
    # A reply may have been on its way when the load died: that message is unknown to the ledger.
    assert final["accepted"] > 10 and final["lost"] == 0, final
    assert final["unknown"] <= 10, final


def test_open_loop_counts_from_the_intended_time(ledger):
    sink = Sink()
    report = load(sink.address, "--rate", "500/s", "--messages", "250", "--sessions", "20")
    assert 0.4 < report["seconds"] < 1.5, report
    report = load(sink.address, "--rate", "1000/s", "--poisson", "--messages", "300")
    assert 0.15 < report["seconds"] < 1.5, report
    # One session, 20 ms a reply: 100 messages a second cannot be kept up, and that must show.
    sink.say("latency 20ms")
    sink.say("report")
    sink.process.stdout.readline()
    report = load(sink.address, "--rate", "100/s", "--messages", "50", "--sessions", "1")
    assert report["reply_latency"]["p50_us"] < 60000, report
    assert report["message_latency"]["max_us"] > 300000, report
    sink.end()


def test_a_slow_reader(ledger):
    sink = Sink("--slow-read", "100KiB/s", "--ledger", ledger)
    report = load(sink.address, "--sessions", "1", "--messages", "1", "--size", "64KiB",
                  "--ledger", ledger)
    assert 0.4 < report["seconds"] < 3, report
    is_good(sink.end(), 1)


def test_two_sinks_do_not_share_a_port(ledger):
    sink = Sink()
    done = subprocess.run([os.path.join(BIN, "sink"), "--listen", sink.address],
                          stderr=subprocess.PIPE, text=True, timeout=30)
    assert done.returncode == 1 and "cannot listen" in done.stderr, done
    sink.end()


def test_refused_connections(ledger):
    sink = Sink("--refuse", "300ms")
    report = load(sink.address, "--messages", "20", "--reconnect")
    assert report["messages"] == 20 and report["errors"]["421"] > 0, report
    assert sink.end()["connections_refused"] > 0


def test_a_silent_server_ends_in_a_timeout(ledger):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = "127.0.0.1:%d" % server.getsockname()[1]
        report = load(address, "--messages", "5", "--timeout", "500ms", want_exit=1)
    assert report["partial"] and report["end"] == "timeout", report


def test_nobody_listens(ledger):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = "127.0.0.1:%d" % server.getsockname()[1]
    report = load(address, "--messages", "5", want_exit=1)
    assert report["partial"] and report["connect_errors"] > 0, report


def test_wrong_options_are_named(ledger):
    for tool, options, word in (
            ("load", ["--to", "127.0.0.1:25", "--size", "4kb"], "--size"),
            ("load", ["--to", "nowhere"], "--to"), ("load", [], "--to"),
            ("load", ["--to", "127.0.0.1:25", "--poisson"], "--rate"),
            ("sink", ["--listen", "127.0.0.1:0", "--fault", "lose:5"], "--fault"),
            ("sink", ["--listen"], "--listen"), ("sink", ["--nonsense"], "--nonsense"),
            ("sink", ["--compare", "x"], "--compare")):
        done = subprocess.run([os.path.join(BIN, tool), *options], stderr=subprocess.PIPE,
                              text=True)
        assert done.returncode == 64 and word in done.stderr, (tool, options, done)


def with_ledger(test):
    return lambda directory: test(os.path.join(directory, "sent.ledger"))


if __name__ == "__main__":
    tests = {name: with_ledger(test) for name, test in globals().items()
             if name.startswith("test_")}
    sys.exit(runner.run(tests, sys.argv[2:]))
