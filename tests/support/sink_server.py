"""A scripted next hop: an SMTP server that answers as told and records what it gets, byte by byte.

    sink = Sink(replies={"RCPT": "550 5.1.1 no"})
    sink = Sink(replies={"dot": lambda session, message: Drop() if message.sender == "" else None})
    sink = Sink(capabilities=["PIPELINING", "SIZE 1000", "CHUNKING", "LIMITS RCPTMAX=2"])

`capabilities` are the lines of the answer to EHLO, and the sink holds the sender to them: what was
not offered (SIZE, 8BITMIME, CHUNKING, BINARYMIME, SMTPUTF8, DSN) or is beyond the offer (SIZE,
LIMITS), and a CR or LF that stands alone in DATA, is refused as a strict server refuses it, so
that a message that arrives was handed over by the rules.

A reply is the text of one line ("250 2.0.0 Ok"), a list of lines, bytes that go out as they are, or
an action: Drop() closes the connection, Wait(seconds, reply) answers later, Hang() never does. The
keys are "connect", the verbs, "chunk" (after every BDAT but the last) and "dot" (after the end of
the data, or the last BDAT). A function gets the session
and the argument (for RCPT the address, for dot the message) and returns one of these, or None for
the usual answer."""

import re
import socket
import threading
import time

INPUT_BYTES_MAX = 256 << 20


class Drop:
    """Closes the connection without a reply."""


class Hang:
    """Never answers; the connection stays open until the sink stops."""


class Wait:
    def __init__(self, seconds, reply):
        self.seconds = seconds
        self.reply = reply


class Received:
    """One message as it came."""

    def __init__(self, session, wire, is_chunked):
        self.sender = session.sender
        self.recipients = list(session.recipients)
        self.wire = wire  # the bytes between 354's CRLF and the final ".CRLF", or of the chunks
        self.is_chunked = is_chunked  # it came by BDAT
        self.mail_line = session.mail_line
        self.rcpt_lines = list(session.rcpt_lines)  # the parameters, too
        self.accepted = False
        self.at = time.monotonic()

    @property
    def content(self):
        """The lines without the dots that were stuffed; with our trace field."""
        wire = self.wire
        if self.is_chunked:
            return wire
        if wire.startswith(b"."):
            wire = wire[1:]
        return wire.replace(b"\r\n.", b"\r\n")


class Session:
    def __init__(self, sink, connection, number):
        self.sink = sink
        self.connection = connection
        self.number = number
        self.pending = b""
        self.sender = None
        self.recipients = []
        self.rcpt_lines = []
        self.mail_line = ""
        self.chunks = []  # of the message that is being sent by BDAT
        self.is_chunk_refused = False
        self.message_count = 0
        self.mail_count = 0
        self.helo = None

    def read_until(self, mark):
        # Looked for only where it can be new, and put together once: a message may have many MiB.
        parts, length, tail = [self.pending], len(self.pending), self.pending
        while mark not in tail:
            more = self.connection.recv(65536)
            if not more:
                self.pending = b"".join(parts)
                return None
            parts.append(more)
            length += len(more)
            if length > INPUT_BYTES_MAX:
                raise OSError("too much input")
            tail = tail[-(len(mark) - 1) :] + more
        found, self.pending = b"".join(parts).split(mark, 1)
        return found

    def read_bytes(self, count):
        while len(self.pending) < count:
            more = self.connection.recv(65536)
            if not more:
                return None
            self.pending += more
        taken, self.pending = self.pending[:count], self.pending[count:]
        return taken

    def answer(self, key, argument, default, on_code=None):
        """Sends what the script says for `key`. Returns the code, or None to end the session.
        `on_code` is told the code before the peer can see it."""
        reply = self.sink.replies.get(key, default)
        if callable(reply):
            reply = reply(self, argument)
            if reply is None:
                reply = default
        while isinstance(reply, Wait):
            time.sleep(reply.seconds)
            reply = reply.reply
        if isinstance(reply, Drop):
            return None
        if isinstance(reply, Hang):
            self.sink.stopping.wait()
            return None
        if isinstance(reply, bytes):
            code = int(reply[:3]) if reply[:3].isdigit() else 0
            if on_code is not None:
                on_code(code)
            self.connection.sendall(reply)
            return code
        lines = [reply] if isinstance(reply, str) else list(reply)
        for index, line in enumerate(lines):
            mark = " " if index == len(lines) - 1 else "-"
            lines[index] = line[:3] + mark + line[4:] + "\r\n"
        code = int(lines[0][:3])
        if on_code is not None:
            on_code(code)
        self.connection.sendall("".join(lines).encode("ascii"))
        return code

    def run(self):
        if self.answer("connect", "", "220 sink.example.test ESMTP") is None:
            return
        while True:
            line = self.read_until(b"\r\n")
            if line is None:
                return
            self.sink.record_line(line)
            text = line.decode("utf-8", "surrogateescape")
            verb, _, argument = text.partition(" ")
            handler = getattr(self, "do_" + verb.lower(), self.do_unknown)
            if not handler(verb.upper(), argument):
                return

    def do_unknown(self, verb, argument):
        return self.answer(verb, argument, "500 5.5.2 what?") is not None

    def do_ehlo(self, verb, argument):
        self.helo = argument
        lines = ["250 sink.example.test"] + ["250 " + name for name in self.sink.capabilities]
        return self.answer(verb, argument, lines) is not None

    def do_helo(self, verb, argument):
        self.helo = argument
        return self.answer(verb, argument, "250 sink.example.test") is not None

    # --- what the sender is held to ---

    def mail_refusal(self, argument):
        """Why a strict server refuses this MAIL, or None."""
        offers = self.sink.offers
        address, _, rest = argument.partition(">")
        is_utf8 = False
        for word in rest.split():
            name, _, value = word.upper().partition("=")
            needs = {"SIZE": "SIZE", "SMTPUTF8": "SMTPUTF8", "RET": "DSN", "ENVID": "DSN",
                     "BODY": "BINARYMIME" if value == "BINARYMIME" else "8BITMIME"}.get(name)
            if needs not in offers:
                return f"555 5.5.4 {word} was not offered"
            if name == "SIZE" and 0 < self.sink.limit("SIZE") < int(value):
                return "552 5.3.4 too big"
            is_utf8 = is_utf8 or name == "SMTPUTF8"
        if not address.isascii() and not is_utf8:
            return "553 5.6.7 no UTF-8 without SMTPUTF8"
        if 0 < self.sink.limit("MAILMAX") <= self.mail_count:
            return "421 4.5.3 too many transactions"
        return None

    def rcpt_refusal(self, argument):
        address, _, rest = argument.rpartition(">")
        domains = {name.rpartition("@")[2].lower() for name in self.recipients + [address]}
        if rest and "DSN" not in self.sink.offers:
            return f"555 5.5.4 {rest.strip()} was not offered"
        if not argument.isascii() and "SMTPUTF8" not in self.mail_line.upper().split():
            return "553 5.6.7 no UTF-8 without SMTPUTF8"
        if 0 < self.sink.limit("RCPTMAX") <= len(self.recipients):
            return "452 4.5.3 too many recipients"
        if 0 < self.sink.limit("RCPTDOMAINMAX") < len(domains):
            return "452 4.5.3 too many domains"
        return None

    def message_refusal(self, message):
        if 0 < self.sink.limit("SIZE") < len(message.wire):
            return "552 5.3.4 too big"
        is_binary = "BODY=BINARYMIME" in message.mail_line.upper()
        if not is_binary and re.search(rb"\r(?!\n)|(?<!\r)\n", message.wire):
            return "550 5.6.0 a CR or LF stands alone"
        has_8bit = any(byte > 127 for byte in message.wire)
        if has_8bit and "BODY=" not in message.mail_line.upper():
            return "554 5.6.3 8-bit bytes were not declared"
        return None

    def begin(self):
        """No transaction is open."""
        self.sender, self.recipients, self.rcpt_lines = None, [], []
        self.chunks, self.is_chunk_refused = [], False

    def do_mail(self, verb, argument):
        code = self.answer(verb, argument, self.mail_refusal(argument) or "250 2.1.0 Ok")
        self.mail_count += 1
        if code is not None and 200 <= code < 300:
            self.begin()
            self.sender = argument[argument.index("<") + 1 : argument.index(">")]
            self.mail_line = argument
        return code is not None

    def do_rcpt(self, verb, argument):
        address = argument[argument.index("<") + 1 : argument.rindex(">")]
        code = self.answer(verb, address, self.rcpt_refusal(argument) or "250 2.1.5 Ok")
        if code is not None and 200 <= code < 300:
            self.recipients.append(address)
            self.rcpt_lines.append(argument)
        return code is not None

    def do_rset(self, verb, argument):
        self.begin()
        return self.answer(verb, argument, "250 2.0.0 Ok") is not None

    def do_noop(self, verb, argument):
        return self.answer(verb, argument, "250 2.0.0 Ok") is not None

    def do_quit(self, verb, argument):
        self.answer(verb, argument, "221 2.0.0 Bye")
        return False

    def do_data(self, verb, argument):
        if self.sender is None or not self.recipients:
            return self.answer("no recipients", argument, "554 5.5.1 no valid recipients") is not None
        is_wrong = self.chunks or "BODY=BINARYMIME" in self.mail_line.upper()
        default = "503 5.5.1 BDAT is what this message needs" if is_wrong else "354 go on"
        code = self.answer(verb, argument, default)
        if code is None or code != 354:
            return code is not None
        # The end is looked for with the CRLF of the command before it, so that a message that is
        # empty ends too.
        self.pending = b"\r\n" + self.pending
        wire = self.read_until(b"\r\n.\r\n")
        if wire is None:
            return False
        wire = wire[2:] + b"\r\n" if len(wire) > 2 else b""
        return self.take_message(wire, is_chunked=False)

    def do_bdat(self, verb, argument):
        words = argument.upper().split()
        chunk = self.read_bytes(int(words[0]))
        if chunk is None:
            return False
        is_last = words[1:] == ["LAST"]
        refusal = None
        if "CHUNKING" not in self.sink.offers:
            refusal = "502 5.5.1 CHUNKING was not offered"
        elif self.sender is None or not self.recipients or self.is_chunk_refused:
            refusal = "503 5.5.1 no transaction for this chunk"
        if refusal is not None:
            self.is_chunk_refused = True
            return self.answer(verb, argument, refusal) is not None
        self.chunks.append(chunk)
        if is_last:
            return self.take_message(b"".join(self.chunks), is_chunked=True)
        code = self.answer("chunk", argument, f"250 2.0.0 {len(chunk)} octets")
        self.is_chunk_refused = code is not None and not 200 <= code < 300
        return code is not None

    def take_message(self, wire, is_chunked):
        message = Received(self, wire, is_chunked)
        self.sink.record_message(message)
        self.message_count += 1

        def note(code):
            message.accepted = 200 <= code < 300

        refusal = self.message_refusal(message)
        code = self.answer("dot", message, refusal or "250 2.0.0 Ok", note)
        # After a chunk that was refused only RSET begins anew (RFC 3030 section 2).
        is_open = is_chunked and not message.accepted
        self.begin()
        self.is_chunk_refused = is_open
        return code is not None


class Sink:
    def __init__(self, replies=None, capabilities=("PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES"),
                 port=0, is_up=True):
        self.replies = dict(replies or {})
        self.capabilities = list(capabilities)
        self.lock = threading.Lock()
        self.messages = []  # every one whose final dot came, accepted or not
        self.lines = []
        self.session_count = 0
        self.open_sessions = set()
        self.open_max = 0
        self.stopping = threading.Event()
        self.listener = None
        # Bound for the sink's whole life and never listening: while the sink is down, its port
        # refuses connections and nobody else gets it.
        self.holder = self.bind(port)
        self.port = self.holder.getsockname()[1]
        if is_up:
            self.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Stops and gives the port back."""
        self.stop()
        self.holder.close()

    @staticmethod
    def bind(port):
        bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind(("127.0.0.1", port))
        return bound

    @property
    def offers(self):
        """The keywords of what EHLO offers."""
        return {line.upper().split()[0] for line in self.capabilities}

    def limit(self, name):
        """The number that is offered for SIZE or under LIMITS; 0: none."""
        for line in self.capabilities:
            keyword, *words = line.upper().split()
            values = words if keyword == "LIMITS" else [f"{keyword}={word}" for word in words]
            for word in values:
                if word.startswith(name + "="):
                    return int(word.partition("=")[2])
        return 0

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def start(self):
        """Also after stop(), on the same port."""
        self.stopping = threading.Event()
        self.listener = self.bind(self.port)
        self.listener.listen(128)
        threading.Thread(target=self.accept_all, args=(self.listener,), daemon=True).start()

    def stop(self):
        """Closes the listener and every connection."""
        if self.listener is None:
            return
        self.stopping.set()
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        self.listener = None
        with self.lock:
            sessions = list(self.open_sessions)
        for session in sessions:
            try:
                session.connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def accept_all(self, listener):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                session = Session(self, connection, self.session_count)
                self.session_count += 1
                self.open_sessions.add(session)
                self.open_max = max(self.open_max, len(self.open_sessions))
            threading.Thread(target=self.run_session, args=(session,), daemon=True).start()

    def run_session(self, session):
        try:
            session.run()
        except (OSError, ValueError):
            pass  # the peer went away, or sent what no server would read: the connection ends
        finally:
            session.connection.close()
            with self.lock:
                self.open_sessions.discard(session)

    def record_line(self, line):
        with self.lock:
            self.lines.append(line)

    def record_message(self, message):
        with self.lock:
            self.messages.append(message)

    def accepted(self, recipient=None):
        """The messages answered with 250, for this recipient when one is given."""
        with self.lock:
            return [
                message
                for message in self.messages
                if message.accepted and (recipient is None or recipient in message.recipients)
            ]
