"""An SMTP client that sends exactly the bytes it is told to, and reads replies strictly.

Every reply that is read is checked for what holds always: lines of at most 512 octets, 7-bit, ended
by CRLF, all with the same code. A reply that breaks this fails the test that read it."""

import re
import socket
import struct
import time

REPLY_LINE_OCTETS_MAX = 512
REPLY_LINES_MAX = 100
REPLY_LINE = re.compile(rb"([2-5]\d\d)([ -])([\x20-\x7e]*)\r\n")
STATUS = re.compile(r"([245]\.\d{1,3}\.\d{1,3}) ")


class ProtocolError(AssertionError):
    """The server's answer is no SMTP reply."""


class Closed(AssertionError):
    """The connection ended where a reply was expected."""


class Reply:
    def __init__(self, code, lines):
        self.code = code
        self.lines = lines

    @property
    def status(self):
        """The RFC 3463 status, or None."""
        found = STATUS.match(self.lines[0] + " ")
        return found.group(1) if found else None

    @property
    def text(self):
        return "\n".join(self.lines)

    def __str__(self):
        return f"{self.code} {self.text}"

    __repr__ = __str__


class Client:
    def __init__(self, port, host="127.0.0.1", timeout=20.0, source=None, receive_buffer=None):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.socket.settimeout(timeout)
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source is not None:
            self.socket.bind((source, 0))
        try:
            self.socket.connect((host, port))
        except OSError:
            self.socket.close()
            raise
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.pending = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def reset(self):
        """Ends the connection with RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def half_close(self):
        self.socket.shutdown(socket.SHUT_WR)

    # --- bytes ---

    def send(self, data):
        self.socket.sendall(data)

    def send_split(self, data, at, gap=0.05):
        """Sends `data` as two segments, cut before byte `at`."""
        self.send(data[:at])
        time.sleep(gap)
        self.send(data[at:])

    def read_line(self):
        while b"\n" not in self.pending:
            more = self.socket.recv(65536)
            if not more:
                raise Closed(f"closed; before that: {self.pending!r}")
            self.pending += more
            if len(self.pending.split(b"\n", 1)[0]) > REPLY_LINE_OCTETS_MAX:
                raise ProtocolError(f"a line of more than 512 octets: {self.pending[:600]!r}")
        line, self.pending = self.pending.split(b"\n", 1)
        return line + b"\n"

    def read_reply(self):
        code, lines = None, []
        while len(lines) < REPLY_LINES_MAX:
            line = self.read_line()
            found = REPLY_LINE.fullmatch(line)
            if found is None or len(line) > REPLY_LINE_OCTETS_MAX:
                raise ProtocolError(f"not a line of a reply: {line!r}")
            if code is not None and found.group(1) != code:
                raise ProtocolError(f"two codes in one reply: {code!r} and {line!r}")
            code = found.group(1)
            lines.append(found.group(3).decode("ascii"))
            if found.group(2) == b" ":
                return Reply(int(code), lines)
        raise ProtocolError("a reply without an end")

    def read_replies(self, count):
        return [self.read_reply() for _ in range(count)]

    def read_to_end(self, timeout=None):
        """All replies until the server closes in order; an RST or a wait too long fails."""
        if timeout is not None:
            self.socket.settimeout(timeout)
        replies = []
        while True:
            try:
                replies.append(self.read_reply())
            except Closed:
                if self.pending:
                    raise ProtocolError(f"half a reply before the end: {self.pending!r}") from None
                return replies

    def is_silent(self, seconds=0.3):
        """True when nothing more comes for so long and the connection stays open."""
        if self.pending:
            return False
        before = self.socket.gettimeout()
        self.socket.settimeout(seconds)
        try:
            self.pending = self.socket.recv(65536)
            return False
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(before)

    # --- commands ---

    def command(self, line):
        """Sends one command line (without CRLF) and returns its reply."""
        if isinstance(line, str):
            line = line.encode("utf-8")
        self.send(line + b"\r\n")
        return self.read_reply()

    def expect(self, line, code, status=None):
        """The command's reply, which must carry this code (and RFC 3463 status)."""
        reply = self.command(line)
        if reply.code != code or (status is not None and reply.status != status):
            raise AssertionError(f"{line!r}: got {reply}, not {code} {status or ''}")
        return reply

    def greet(self, name="client.example.test", verb="EHLO"):
        """Reads the banner and says EHLO; returns its reply."""
        banner = self.read_reply()
        if banner.code != 220:
            raise AssertionError(f"banner: {banner}")
        return self.expect(f"{verb} {name}", 250)

    def start(self, sender, recipients):
        """MAIL and RCPT, which must all be accepted."""
        self.expect(f"MAIL FROM:<{sender}>", 250)
        for recipient in recipients:
            self.expect(f"RCPT TO:<{recipient}>", 250)

    def start_data(self, sender, recipients):
        self.start(sender, recipients)
        self.expect("DATA", 354)

    def mail(self, sender, recipients, content):
        """One whole transaction; `content` is stuffed here. Returns the reply to the dot."""
        self.start_data(sender, recipients)
        self.send(stuffed(content) + b".\r\n")
        return self.read_reply()


def connected(port, **options):
    """A client that has said EHLO."""
    client = Client(port, **options)
    client.greet()
    return client


def stuffed(content):
    """The lines of `content` as DATA carries them (RFC 5321 4.5.2)."""
    if content.startswith(b"."):
        content = b"." + content
    return content.replace(b"\r\n.", b"\r\n..")


def unstuffed(wire):
    if wire.startswith(b"."):
        wire = wire[1:]
    return wire.replace(b"\r\n.", b"\r\n")
