#!/usr/bin/env python3
"""Runs load against scripted servers: each option does what it says on the wire, and each way in
which a server can be bad ends in a partial result that says why.

load_test.py BIN_DIR [TEST...]
"""
import hashlib
import hmac
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time

sys.dont_write_bytecode = True  # nothing is left in the source tree

import scripted
import runner
from scripted import (Server, Smtp, bodies, certificate, end_load, handshakes, load, start_load,
                      tls_context)

MARK = re.compile(rb"X-Load-Id: [0-9a-f]{16}-(\d{12})\r\n")


def numbers(server):
    """The numbers of the messages that a server got, in order."""
    return sorted(int(MARK.search(body).group(1)) for body in bodies(server))


def is_partial(report, *words):
    """It is marked as partial, and `why` and standard error say these words."""
    assert report["partial"] is True, report
    for word in words:
        assert word in report["why"], (word, report["why"])
        assert word in report["stderr"], (word, report["stderr"])


class Floor:
    """A floor on a free port."""

    def __init__(self, *options):
        self.process = subprocess.Popen(
            [os.path.join(scripted.BIN, "floor"), "--listen", "127.0.0.1:0", *options],
            stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        assert line.startswith("ready 127.0.0.1:"), line
        self.address = line.split()[1]

    def end(self):
        """Its counts."""
        self.process.send_signal(signal.SIGTERM)
        out, _ = self.process.communicate(timeout=30)
        assert self.process.returncode == 0, self.process.returncode
        return {key: int(value) for key, value in
                (word.split("=") for word in out.split() if "=" in word)}


# --- how long, how many, on how many cores ---


def test_a_duration_ends_a_run_that_is_complete(directory):
    floor = Floor()
    start = time.monotonic()
    report = load(floor.address, "--duration", "500ms", "--sessions", "5")
    assert 0.45 < time.monotonic() - start < 5
    assert report["end"] == "complete" and not report["partial"] and report["why"] is None
    assert report["begun"] == report["messages"] > 100, report
    assert 0.5 <= report["seconds"] < 2, report["seconds"]
    assert floor.end()["messages"] == report["messages"]


def test_messages_end_a_run_before_its_duration(directory):
    floor = Floor()
    report = load(floor.address, "--duration", "20s", "--messages", "50")
    assert report["messages"] == 50 and report["seconds"] < 10, report
    floor.end()


def test_a_duration_waits_for_what_was_begun(directory):
    def slow_answer(peer, server):
        peer.say("220 test")
        while True:
            verb = peer.line().split(" ")[0]
            if verb == "DATA":
                peer.say("354 go")
                peer.body()
                time.sleep(0.6)
            peer.say("221 bye" if verb == "QUIT" else "250 ok")

    with Server(slow_answer) as server:
        report = load(server.address, "--duration", "200ms", "--sessions", "2")
    assert report["messages"] == report["begun"] == 2 and report["lost"] == 0, report
    assert report["end"] == "complete" and 0.6 <= report["seconds"] < 3, report


def test_a_rate_that_is_not_kept_shows(directory):
    def slow_answer(peer, server):
        peer.say("220 test")
        while True:
            verb = peer.line().split(" ")[0]
            if verb == "DATA":
                peer.say("354 go")
                peer.body()
                time.sleep(0.1)
            peer.say("221 bye" if verb == "QUIT" else "250 ok")

    with Server(slow_answer) as server:
        report = load(server.address, "--duration", "800ms", "--rate", "100/s", "--sessions", "1",
                      want_exit=1)
    assert 60 < report["overdue"] < 80, report
    assert report["overdue"] + report["begun"] in (79, 80, 81), report
    is_partial(report, "rate was not kept")


def test_cores_share_sessions_messages_and_ids(directory):
    ledger = os.path.join(directory, "ledger")
    with Server(Smtp()) as server:
        report = load(server.address, "--cores", "3", "--sessions", "7", "--messages", "200",
                      "--ledger", ledger, "--buckets")
    assert numbers(server) == list(range(1, 201))
    with open(ledger) as file:
        lines = file.read().splitlines()
    assert len(lines) == 200 and len({line.split()[0] for line in lines}) == 200
    assert report["messages"] == 200 and report["options"]["cores"] == 3
    cores = report["cpu"]["cores"]
    assert [core["messages"] for core in cores] == [67, 67, 66], cores
    assert report["reply_latency"]["count"] == 200
    assert sum(count for _, count in report["reply_latency"]["buckets"]) == 200
    assert server.connections == 7


def test_cores_keep_one_rate(directory):
    floor = Floor()
    for poisson in [], ["--poisson"]:
        report = load(floor.address, "--cores", "2", "--sessions", "20", "--rate", "1000/s",
                      "--duration", "1s", *poisson)
        assert 850 < report["messages"] < 1150, report
    floor.end()


def test_term_ends_all_cores(directory):
    floor = Floor()
    process = start_load(floor.address, "--cores", "2", "--sessions", "4", "--messages", "0",
                         "--until-killed-ok")
    time.sleep(0.4)
    process.send_signal(signal.SIGTERM)
    report = end_load(process)
    assert report["end"] == "stopped" and report["messages"] > 0, report
    floor.end()


def test_a_core_without_a_server_leaves_the_others(directory):
    """The second of two connections is refused: one core is over at once, the other does its
    part."""
    def first_only(peer, server):
        if server.connections > 1:
            peer.say("554 one is enough")
            return
        Smtp()(peer, server)

    with Server(first_only) as server:
        report = load(server.address, "--cores", "2", "--sessions", "2", "--messages", "40",
                      want_exit=1)
    assert report["messages"] == 20 and report["sessions_lost"] == 1, report
    is_partial(report, "1 of 2 sessions were lost", "one is enough")


# --- BDAT ---


def test_bdat_sends_the_message_as_it_is(directory):
    for size, chunk in ("4KiB", "64KiB"), ("300KiB", "10000"), ("1MiB", "1MiB"), ("0", "1KiB"):
        for pipelining in "on", "off":
            with Server(Smtp(["PIPELINING", "8BITMIME", "CHUNKING"])) as server:
                report = load(server.address, "--transfer", "bdat", "--chunk", chunk, "--size",
                              size, "--messages", "20", "--sessions", "2", "--pipelining",
                              pipelining)
            assert report["messages"] == 20 and not report["partial"], report
            assert numbers(server) == list(range(1, 21))
            commands = [thing for thing in server.seen if str(thing).startswith("BDAT")]
            assert "DATA" not in server.seen
            sizes = {len(body) for body in bodies(server)}
            for body in bodies(server):
                digest, length = re.search(rb"X-Load-Digest: (\w+) (\d+)", body).groups()
                assert int(length) == len(body.partition(b"\r\n\r\n")[2]), (length, len(body))
            whole = max(sizes)
            limit = {"64KiB": 65536, "10000": 10000, "1MiB": 1 << 20, "1KiB": 1024}[chunk]
            each = -(-whole // limit)
            assert len(commands) == 20 * each, (len(commands), each)
            assert sum(1 for command in commands if command.endswith(" LAST")) == 20


def test_bdat_is_pipelined_with_the_envelope(directory):
    """The server answers nothing before it has the whole group."""
    def group(peer, server):
        peer.say("220 test")
        peer.line()
        for line in "250-test", "250-PIPELINING", "250 CHUNKING":
            peer.say(line)
        lines = [peer.line() for _ in range(3)]
        assert [line.split()[0] for line in lines] == ["MAIL", "RCPT", "BDAT"], lines
        assert lines[2].endswith(" LAST")
        peer.take(int(lines[2].split()[1]))
        for _ in lines:
            peer.say("250 ok")
        assert peer.line() == "QUIT"
        peer.say("221 bye")

    with Server(group) as server:
        report = load(server.address, "--transfer", "bdat", "--messages", "1", "--sessions", "1")
    assert report["messages"] == 1, report


def test_a_refused_bdat_resets(directory):
    class Refuses(Smtp):
        def __call__(self, peer, server):
            peer.say("220 test")
            count = 0
            while True:
                line = peer.line()
                verb = line.split()[0]
                server.keep(verb)
                if verb == "EHLO":
                    self.ehlo(peer)
                elif verb == "BDAT":
                    peer.take(int(line.split()[1]))
                    count += 1
                    peer.say("552 5.3.4 too much" if count <= 3 else "250 ok")
                elif verb == "RSET":
                    count = 99
                    peer.say("250 ok")
                elif verb == "QUIT":
                    peer.say("221 bye")
                    return
                else:
                    peer.say("250 ok")

    for pipelining in "on", "off":
        with Server(Refuses(["PIPELINING", "CHUNKING"])) as server:
            report = load(server.address, "--transfer", "bdat", "--chunk", "10000", "--size",
                          "30000", "--messages", "2", "--sessions", "1", "--pipelining", pipelining)
        assert report["refused"] == 1 and report["messages"] == 1, report
        assert report["errors"] == {"552": 1}
        assert "BDAT" in report["first_refusal"] and "too much" in report["first_refusal"]
        assert server.seen.count("RSET") == 1, server.seen


def test_bdat_needs_chunking(directory):
    with Server(Smtp()) as server:
        start = time.monotonic()
        report = load(server.address, "--transfer", "bdat", "--reconnect", "--cores", "2",
                      want_exit=1)
        assert time.monotonic() - start < 10
    is_partial(report, "cannot do what was asked", "CHUNKING")
    assert report["messages"] == 0 and not bodies(server)


# --- TLS ---


def test_tls_in_both_ways(directory):
    path = certificate(directory)
    for mode in "starttls", "implicit":
        script = Smtp(["PIPELINING", "STARTTLS"] if mode == "starttls" else ["PIPELINING"],
                      context=tls_context(path), is_implicit=mode == "implicit")
        with Server(script) as server:
            report = load(server.address, "--tls", mode, "--messages", "30", "--sessions", "3",
                          "--messages-per-connection", "2")
        assert report["messages"] == 30 and not report["partial"], report
        assert numbers(server) == list(range(1, 31))
        assert report["tls"]["handshakes"] == server.connections == len(handshakes(server))
        assert report["tls"]["failed"] == 0
        assert report["tls"]["handshake_latency"]["count"] == server.connections
        assert report["tls"]["handshake_latency"]["p50_us"] > 0
        assert report["tls"]["resumed"] == 0, report["tls"]
        assert not any(resumed for _, resumed in handshakes(server))
        if mode == "starttls":
            assert server.seen.count("EHLO load.bench.test") == 2 * server.connections


def test_tls_carries_large_bodies_unaltered(directory):
    path = certificate(directory)
    with Server(Smtp(context=tls_context(path), is_implicit=True)) as server:
        report = load(server.address, "--tls", "implicit", "--messages", "6", "--sessions", "2",
                      "--size", "3MiB")
    assert report["messages"] == 6, report
    for body in bodies(server):
        length = int(re.search(rb"X-Load-Digest: \w+ (\d+)", body).group(1))
        raw = body.partition(b"\r\n\r\n")[2].replace(b"\r\n..", b"\r\n.")
        assert len(raw) - length in (0, 1), (len(raw), length)  # a dot that began the body


def test_handshakes_are_resumed(directory):
    path = certificate(directory)
    script = Smtp(["STARTTLS"], context=tls_context(path))
    with Server(script) as server:
        report = load(server.address, "--tls", "starttls", "--handshake", "resumed", "--messages",
                      "20", "--sessions", "1", "--messages-per-connection", "1", "--server-name",
                      "server.test")
    assert report["messages"] == 20, report
    assert report["tls"]["handshakes"] == 20 and report["tls"]["resumed"] == 19, report["tls"]
    assert sum(resumed for _, resumed in handshakes(server)) == 19


def test_certificates_are_verified(directory):
    path = certificate(directory)
    other = certificate(directory, "other.test")
    script = Smtp(context=tls_context(path), is_implicit=True)
    good = ["--tls", "implicit", "--messages", "3", "--sessions", "1", "--tls-verify", path]
    with Server(script) as server:
        report = load(server.address, *good, "--server-name", "server.test")
        assert report["messages"] == 3, report
        report = load(server.address, *good, "--server-name", "wrong.test", want_exit=1)
        is_partial(report, "TLS failed")
        assert report["tls"]["failed"] == 1 and report["messages"] == 0, report
        good[-1] = other
        report = load(server.address, *good, "--server-name", "server.test", want_exit=1)
        is_partial(report, "TLS failed")


def test_tls_that_is_not_there(directory):
    with Server(Smtp()) as server:
        report = load(server.address, "--tls", "starttls", want_exit=1)
        is_partial(report, "does not offer STARTTLS")
        report = load(server.address, "--tls", "implicit", "--sessions", "2", want_exit=1)
        is_partial(report, "TLS failed")
        assert report["tls"]["failed"] == 2, report["tls"]


def test_commands_injected_before_tls_are_refused(directory):
    path = certificate(directory)

    def inject(peer, server):
        peer.say("220 test")
        peer.line()
        peer.say("250-test\r\n250 STARTTLS")
        peer.line()
        peer.say("220 go\r\n250 2.0.0 not secured")
        peer.secure(tls_context(path))
        server.keep("secured")
        peer.line()

    with Server(inject) as server:
        report = load(server.address, "--tls", "starttls", "--sessions", "1", want_exit=1)
    is_partial(report, "TLS failed")
    assert report["messages"] == 0


def test_a_missing_ca_file_is_named(directory):
    done = subprocess.run([os.path.join(scripted.BIN, "load"), "--to", "127.0.0.1:9", "--tls",
                           "implicit", "--tls-verify", "/nowhere/ca.pem"], capture_output=True,
                          text=True, timeout=30)
    assert done.returncode == 1 and "/nowhere/ca.pem" in done.stderr, done


# --- AUTH ---


def test_each_mechanism_says_what_it_should(directory):
    secret = os.path.join(directory, "secret")
    with open(secret, "w") as file:
        file.write("tanstaaftanstaaf\n")
    digest = hmac.new(b"tanstaaftanstaaf", b"<1896.697170952@test>", hashlib.md5).hexdigest()
    for mechanism, want in (("plain", b"\0tim\0tanstaaftanstaaf"),
                            ("login", (b"tim", b"tanstaaftanstaaf")),
                            ("cram-md5", b"tim " + digest.encode())):
        with Server(Smtp(["AUTH PLAIN LOGIN CRAM-MD5"])) as server:
            report = load(server.address, "--auth", mechanism, "--user", "tim", "--password-file",
                          secret, "--messages", "4", "--sessions", "2")
        assert report["messages"] == 4, report
        assert [thing for thing in server.seen if thing[0] == "auth"] == [("auth", want)] * 2


def test_refused_credentials_end_the_run(directory):
    with Server(Smtp(["AUTH PLAIN"], replies={"AUTH": "535 5.7.8 no such user"})) as server:
        report = load(server.address, "--auth", "plain", "--user", "u", "--password", "p",
                      "--reconnect", "--sessions", "1", want_exit=1)
    is_partial(report, "refused --auth", "no such user")
    assert server.connections <= 2, server.connections


def test_a_mechanism_that_is_not_offered(directory):
    with Server(Smtp(["AUTH PLAIN"])) as server:
        report = load(server.address, "--auth", "cram-md5", "--user", "u", "--password", "p",
                      want_exit=1)
    is_partial(report, "does not offer the mechanism")


def test_a_challenge_without_an_answer(directory):
    with Server(Smtp(["AUTH PLAIN"], replies={"AUTH": "334 more"})) as server:
        report = load(server.address, "--auth", "plain", "--user", "u", "--password", "p",
                      "--sessions", "1", want_exit=1)
    is_partial(report, "challenge")


# --- PROXY ---


def test_proxy_headers_come_first(directory):
    path = certificate(directory)

    def v1(peer, server):
        server.keep(peer.line())
        Smtp()(peer, server)

    def v2(peer, server):
        head = peer.sock.recv(28, socket.MSG_WAITALL)  # what follows is for TLS
        assert head[:16] == b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", head
        source, target, source_port, target_port = struct.unpack("!4s4sHH", head[16:])
        server.keep("PROXY TCP4 %s %s %d %d" % (socket.inet_ntoa(source),
                                                socket.inet_ntoa(target), source_port,
                                                target_port))
        Smtp(context=tls_context(path), is_implicit=True)(peer, server)

    for script, options in (v1, ["v1"]), (v2, ["v2", "--tls", "implicit"]):
        with Server(script) as server:
            report = load(server.address, "--proxy", *options, "--clients", "300", "--sessions",
                          "2", "--cores", "2", "--messages", "20", "--messages-per-connection",
                          "1")
        assert report["messages"] == 20, report
        heads = [thing for thing in server.seen if str(thing).startswith("PROXY")]
        clients = {head.split()[2] for head in heads}
        assert len(heads) == server.connections and len(clients) == len(heads), heads
        port = server.address.split(":")[1]
        for head in heads:
            assert re.fullmatch(r"PROXY TCP4 198\.1[89]\.\d+\.\d+ 127\.0\.0\.1 \d+ " + port, head)


# --- idle and slow clients ---


def test_idle_connections_are_held_beside_load(directory):
    floor = Floor("--connections", "1000")
    out = os.path.join(directory, "report.json")
    process = start_load(floor.address, "--idle", "300", "--sessions", "3", "--messages", "0",
                         "--duration", "400ms", "--cores", "2", "--json", out)
    said, errors = process.communicate(timeout=60)
    assert process.returncode == 0 and said == "holding 300 of 300\n", (said, errors)
    with open(out) as file:
        report = json.load(file)
    assert report["idle"] == {"wanted": 300, "held": 300, "lost": 0, "refused": 0}, report["idle"]
    assert report["messages"] > 0 and report["connections"] == 303, report
    assert report["reply_latency"]["count"] == report["messages"]
    assert floor.end()["connections"] == 303


def test_idle_connections_alone(directory):
    with Server(Smtp()) as server:
        out = os.path.join(directory, "report.json")
        process = start_load(server.address, "--sessions", "0", "--idle", "20", "--messages", "0",
                             "--until-killed-ok", "--json", out)
        assert process.stdout.readline() == "holding 20 of 20\n"
        time.sleep(0.3)
        assert server.seen == ["EHLO load.bench.test"] * 20, server.seen
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
        assert process.returncode == 0
        with open(out) as file:
            assert json.load(file)["idle"]["held"] == 20
        report = load(server.address, "--sessions", "0", "--idle", "5", "--duration", "200ms")
        assert report["end"] == "complete" and report["idle"]["held"] == 5, report
        assert "holding 5 of 5" in report["stderr"]


def test_idle_connections_come_from_several_addresses(directory):
    def note_address(peer, server):
        server.keep(peer.sock.getpeername()[0])
        peer.say("220 test")
        peer.line()
        peer.say("250 test")
        peer.line()

    with Server(note_address) as server:
        report = load(server.address, "--sessions", "0", "--idle", "50", "--idle-per-address",
                      "20", "--cores", "2", "--duration", "100ms")
    assert report["idle"]["held"] == 50, report["idle"]
    counts = {address: server.seen.count(address) for address in set(server.seen)}
    assert counts == {"127.0.0.1": 20, "127.0.0.2": 20, "127.0.0.3": 10}, counts


def test_idle_connections_that_are_refused_or_lost(directory):
    def some(peer, server):
        with server.lock:
            server.number = getattr(server, "number", 0) + 1
            number = server.number
        if number % 4 == 0:
            peer.say("421 too many")
            return
        peer.say("220 test")
        peer.line()
        peer.say("250 test")
        if number % 4 == 1:
            time.sleep(0.3)
            peer.say("421 4.4.2 timeout")
            return
        peer.line()

    with Server(some) as server:
        report = load(server.address, "--sessions", "0", "--idle", "40", "--duration", "1s",
                      want_exit=1)
    assert report["idle"] == {"wanted": 40, "held": 20, "lost": 10, "refused": 10}, report["idle"]
    is_partial(report, "20 of 40 idle connections", "too many")


def test_a_server_that_ends_all_idle_connections(directory):
    def ends(peer, server):
        peer.say("220 test")
        peer.line()
        peer.say("250 test")
        time.sleep(0.2)

    with Server(ends) as server:
        report = load(server.address, "--sessions", "0", "--idle", "10", want_exit=1)
    assert report["idle"]["lost"] == 10, report
    is_partial(report, "every session was lost", "closed the connection")


def test_idle_connections_that_never_come_up(directory):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = "127.0.0.1:%d" % server.getsockname()[1]
        report = load(address, "--sessions", "0", "--idle", "5", "--reply-timeout", "300ms",
                      want_exit=1)
    assert report["idle"]["held"] == 0 and report["idle"]["refused"] == 5, report
    assert report["stderr"].startswith("holding 0 of 5\n"), report["stderr"]


def test_slow_sessions(directory):
    with Server(Smtp()) as server:
        start = time.monotonic()
        report = load(server.address, "--sessions", "1", "--slow", "1", "--slow-rate", "4KiB/s",
                      "--messages", "0", "--duration", "1500ms", "--size", "3KiB")
        assert 1.4 < time.monotonic() - start < 5
    # 3 KiB at 4 KiB a second are 0.75 s; the one that is begun at the end is hurried.
    assert report["messages"] == report["slow"] in (2, 3), report
    assert report["reply_latency"]["count"] == 0
    assert numbers(server) == list(range(1, report["messages"] + 1))


def test_slow_sessions_beside_others_with_bdat(directory):
    with Server(Smtp(["PIPELINING", "CHUNKING"])) as server:
        report = load(server.address, "--sessions", "4", "--slow", "2", "--slow-rate", "2KiB/s",
                      "--duration", "1s", "--transfer", "bdat", "--chunk", "2KiB", "--size",
                      "5KiB")
    assert report["slow"] == 2 and report["messages"] > 20, report
    assert report["reply_latency"]["count"] == report["messages"] - 2
    assert numbers(server) == list(range(1, report["messages"] + 1))
    assert {len(body) for body in bodies(server)} == {5120}


# --- bad servers ---


def test_garbage_is_quoted(directory):
    def http(peer, server):
        peer.say("HTTP/1.1 400 Bad\x07 Request\r\n\r\n")
        time.sleep(1)

    with Server(http) as server:
        report = load(server.address, "--sessions", "3", want_exit=1)
    is_partial(report, "every session was lost", "no reply of SMTP", "HTTP/1.1 400 Bad? Request")
    assert report["bad_replies"] == 3 and report["messages"] == 0, report


def test_garbage_in_a_transaction(directory):
    for verb in "MAIL", "DATA", "RCPT":
        with Server(Smtp(replies={verb: "what is this"})) as server:
            report = load(server.address, "--sessions", "2", "--messages", "10", want_exit=1)
        is_partial(report, "what is this")
        assert report["messages"] == 0 and report["bad_replies"] == 2, report


def test_a_line_without_an_end(directory):
    def endless(peer, server):
        peer.sock.sendall(b"220 " + 5000 * b"x")
        time.sleep(1)

    with Server(endless) as server:
        report = load(server.address, "--sessions", "1", want_exit=1)
    is_partial(report, "line without an end")


def test_a_reply_without_an_end(directory):
    def endless(peer, server):
        while True:
            peer.say("220-more")
            time.sleep(0.05)

    with Server(endless) as server:
        start = time.monotonic()
        report = load(server.address, "--sessions", "1", "--reply-timeout", "500ms", want_exit=1)
        assert time.monotonic() - start < 5
    is_partial(report, "stalled", "greeting")


def test_a_reply_to_nothing(directory):
    with Server(Smtp(replies={"MAIL": "250 ok\r\n250 ok\r\n250 ok\r\n250 ok"})) as server:
        report = load(server.address, "--sessions", "1", "--pipelining", "off", want_exit=1)
    is_partial(report, "sessions were lost")
    assert report["messages"] == 0, report


def test_each_stall_has_a_limit(directory):
    def silent(peer, server):
        time.sleep(20)

    def silent_at(verb):
        def script(peer, server):
            peer.say("220 test")
            while True:
                line = peer.line()
                if line.startswith(verb):
                    time.sleep(20)
                peer.say("250 ok")
        return script

    def silent_body(peer, server):
        peer.say("220 test")
        while True:
            line = peer.line()
            if line == "DATA":
                peer.say("354 go")
                peer.body()
                time.sleep(20)
            peer.say("250 ok")

    cases = [(silent, "greeting", 0), (silent_at("EHLO"), "EHLO", 0),
             (silent_at("RCPT"), "a reply", 0), (silent_body, "a reply", 2)]
    for script, word, lost in cases:
        with Server(script) as server:
            start = time.monotonic()
            report = load(server.address, "--sessions", "2", "--reply-timeout", "400ms",
                          want_exit=1)
            assert 0.4 < time.monotonic() - start < 5
        is_partial(report, "stalled", word)
        assert report["stalls"] == 2 and report["messages"] == 0, report
        assert report["lost"] >= lost, report
        assert report["reply_latency"]["count"] == 0


def test_one_stalled_session_leaves_the_others(directory):
    def one_stalls(peer, server):
        if server.connections == 1:
            time.sleep(20)
        Smtp()(peer, server)

    with Server(one_stalls) as server:
        process = start_load(server.address, "--sessions", "3", "--rate", "50/s", "--duration",
                             "1500ms", "--reply-timeout", "500ms")
        report = end_load(process, want_exit=1)
    assert report["stalls"] == 1 and report["sessions_lost"] == 1, report
    assert report["messages"] == report["begun"] > 50, report
    is_partial(report, "1 of 3 sessions", "stalled")


def test_a_stalled_handshake(directory):
    def silent(peer, server):
        time.sleep(20)

    with Server(silent) as server:
        report = load(server.address, "--sessions", "1", "--tls", "implicit", "--reply-timeout",
                      "400ms", want_exit=1)
    is_partial(report, "stalled", "TLS handshake")


def test_a_server_that_takes_no_data(directory):
    def deaf(peer, server):
        peer.say("220 test")
        while True:
            if peer.line() == "DATA":
                peer.say("354 go")
                time.sleep(20)
            peer.say("250 ok")

    with Server(deaf) as server:
        start = time.monotonic()
        # 128 KiB have 8 s beyond the limit of a reply; this is more than the socket takes.
        report = load(server.address, "--sessions", "1", "--size", "16KiB", "--reply-timeout",
                      "300ms", want_exit=1)
        assert time.monotonic() - start < 5
    is_partial(report, "stalled")
    assert report["lost"] == 1, report


def test_a_server_that_dies(directory):
    def dies(peer, server):
        peer.say("220 test")
        count = 0
        while True:
            line = peer.line()
            if line == "DATA":
                peer.say("354 go")
                peer.body()
                count += 1
                if count == 5:
                    return
            peer.say("250 ok")

    with Server(dies) as server:
        report = load(server.address, "--sessions", "4", want_exit=1)
    assert report["messages"] == 16 and report["lost"] == 4, report
    assert report["reply_latency"]["count"] == 16
    is_partial(report, "every session was lost", "closed the connection")


def test_a_process_that_is_killed(directory):
    floor = Floor()
    process = start_load(floor.address, "--messages", "0", "--sessions", "10", "--cores", "2")
    time.sleep(0.4)
    floor.process.kill()
    floor.process.communicate()
    report = end_load(process, want_exit=1)
    assert report["messages"] > 0 and report["sessions_lost"] == 10, report
    is_partial(report, "every session was lost")


def test_a_dead_server_does_not_hold_up_a_duration(directory):
    floor = Floor()
    process = start_load(floor.address, "--duration", "1s", "--sessions", "10", "--reconnect")
    time.sleep(0.4)
    floor.process.kill()
    floor.process.communicate()
    start = time.monotonic()
    report = end_load(process)
    assert time.monotonic() - start < 3
    assert report["messages"] > 0 and report["connect_errors"] > 0, report
    assert report["first_problem"] is not None


def test_nobody_listens_for_a_duration(directory):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = "127.0.0.1:%d" % server.getsockname()[1]
    report = load(address, "--duration", "300ms", "--reconnect", want_exit=1)
    is_partial(report, "no message was answered", "cannot connect: Connection refused")


def test_refusals_are_quoted(directory):
    with Server(Smtp(replies={"RCPT": "554 5.7.1 relaying denied"})) as server:
        report = load(server.address, "--messages", "5", "--sessions", "1")
    assert report["errors"] == {"554": 5} and report["messages"] == 0, report
    assert report["first_refusal"] == 'RCPT: "554 5.7.1 relaying denied"', report


def test_a_greeting_that_refuses(directory):
    def refuses(peer, server):
        peer.say("554 5.3.2 go away")

    with Server(refuses) as server:
        report = load(server.address, "--sessions", "2", want_exit=1)
    is_partial(report, "every session was lost", "go away")


# --- the floor ---


def test_the_floor_does_every_scenario(directory):
    floor = Floor()
    count = size = 0
    for options in (["--size", "1MiB", "--messages", "40"], ["--pipelining", "off"],
                    ["--messages-per-connection", "1"], ["--sessions", "400"],
                    ["--recipients", "500", "--messages", "20"],
                    ["--size-mix", "0:5,1KiB:40,50KiB:15,1MiB:4,5MiB:1", "--messages", "300"]):
        report = load(floor.address, "--messages", "2000", *options)
        assert not report["partial"] and report["lost"] == report["refused"] == 0, report
        count += report["messages"]
        size += report["bytes"]
    counts = floor.end()
    # Stuffed dots and the ends of data come on top.
    assert counts["messages"] == count and counts["bytes"] >= size, (counts, count, size)
    assert counts["deaf"] == counts["refused"] == 0, counts


def test_the_floor_finds_the_end_at_every_split(directory):
    floor = Floor()
    host, port = floor.address.split(":")
    bodies_sent = [b".\r\n", b"\r\n.\r\n", b"a\r\n..\r\n.\r\r\n.\n.\r\n\r\n.\r\n",
                   b"..\r\n.x\r\n.\r\n"]
    count = 0
    for body in bodies_sent:
        stream = b"MAIL FROM:<a>\r\nRCPT TO:<b>\r\nDATA\r\n" + body + b"NOOP\r\n"
        for cut in range(len(stream) + 1):
            with socket.create_connection((host, int(port))) as sock:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                replies = sock.makefile("rb")
                assert replies.readline() == b"220 floor\r\n"
                sock.sendall(stream[:cut])
                time.sleep(0.001)
                sock.sendall(stream[cut:])
                codes = [replies.readline()[:3] for _ in range(5)]
                assert codes == [b"250", b"250", b"354", b"250", b"250"], (body, cut, codes)
                count += 1
    assert floor.end()["messages"] == count


def test_the_floor_ends_a_session_that_quits(directory):
    floor = Floor()
    host, port = floor.address.split(":")
    with socket.create_connection((host, int(port)), timeout=5) as sock:
        sock.sendall(b"QUIT\r\n")
        data = b""
        while part := sock.recv(100):
            data += part
    assert data == b"220 floor\r\n221 bye\r\n", data
    floor.end()


def test_the_floor_does_not_share_its_port(directory):
    floor = Floor()
    done = subprocess.run([os.path.join(scripted.BIN, "floor"), "--listen", floor.address],
                          capture_output=True, text=True, timeout=30)
    assert done.returncode == 1 and "cannot listen" in done.stderr, done
    floor.end()


# --- the rest ---


def test_wrong_options_are_named(directory):
    to = ["--to", "127.0.0.1:25"]
    for options, word in (
            (["--cores", "0"], "--cores"), (["--cores", "3", "--sessions", "2"], "--cores"),
            (["--sessions", "0"], "--sessions"), (["--tls", "yes"], "--tls"),
            (["--handshake", "resumed"], "--tls"), (["--auth", "plain"], "--user"),
            (["--auth", "plain", "--user", "u"], "--password-file"), (["--user", "u"], "--auth"),
            (["--auth", "login", "--user", "u", "--password-file", "/nowhere"], "/nowhere"),
            (["--clients", "5"], "--proxy"), (["--chunk", "100"], "--chunk"),
            (["--slow", "20", "--sessions", "10"], "--slow"),
            (["--slow-rate", "fast"], "--slow-rate"),
            (["--duration", "0s"], "--duration"), (["--transfer", "smtp"], "--transfer")):
        done = subprocess.run([os.path.join(scripted.BIN, "load"), *to, *options],
                              capture_output=True, text=True, timeout=30)
        assert done.returncode == 64 and word in done.stderr, (options, done)
    for tool in "load", "sink", "floor":
        done = subprocess.run([os.path.join(scripted.BIN, tool), "--help"], capture_output=True,
                              text=True, timeout=30)
        assert done.returncode == 0 and "ADDRESS:PORT" in done.stdout, done


if __name__ == "__main__":
    scripted.BIN = sys.argv[1]
    sys.exit(runner.run(globals(), sys.argv[2:]))
