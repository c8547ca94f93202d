"""An SMTP client that sends exactly the bytes it is told to, and reads replies strictly.

    client = connected(port)                                      # has said EHLO
    client = connected(port, tls="starttls")                      # EHLO, STARTTLS, handshake, EHLO
    client = Client(port, tls="implicit", proxy=proxy_v1(...))    # nothing is read yet

Every reply that is read is checked for what holds always: lines of at most 512 octets, 7-bit, ended
by CRLF, all with the same code. A reply that breaks this fails the test that read it."""

import base64
import hashlib
import hmac
import ipaddress
import os
import re
import socket
import ssl
import struct
import time

from tests.support import certificates
from tests.support.tls_socket import TlsSocket

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
    def __init__(self, port, host="127.0.0.1", timeout=20.0, source=None, receive_buffer=None,
                 tls=None, context=None, server_name="mx.gateway.test", session=None, proxy=b""):
        """`tls`: "implicit" does the handshake here, "starttls" leaves it to greet(). `context`: as of
        certificates.client_context(), which is the default. `session`: one to resume. `proxy`: bytes
        that go out before all else, as of proxy_v1() and proxy_v2()."""
        if tls not in (None, "starttls", "implicit"):
            raise ValueError(f"tls={tls!r}")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.raw = socket.socket(family, socket.SOCK_STREAM)  # TCP, below TLS where there is any
        self.socket = self.raw  # what the session goes over: `raw`, or a TlsSocket on it
        self.mode = tls
        self.context = context
        self.server_name = server_name
        self.session = session
        self.raw.settimeout(timeout)
        if receive_buffer is not None:
            self.raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source is not None:
            self.raw.bind((source, 0))
        self.pending = b""
        try:
            self.raw.connect((host, port))
            self.raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if proxy:
                self.raw.sendall(proxy)
            if tls == "implicit":
                self.handshake()
        except BaseException:
            self.raw.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def reset(self):
        """Ends the connection with RST."""
        self.raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.raw.close()

    def half_close(self):
        """Under TLS: close_notify, then FIN."""
        self.socket.shutdown(socket.SHUT_WR)

    # --- TLS ---

    def handshake(self):
        """TLS from here on, without a word of SMTP. Bytes that came in the clear stay unread in
        `pending`: there must be none."""
        if self.pending:
            raise ProtocolError(f"bytes in the clear before the handshake: {self.pending!r}")
        if self.context is None:
            self.context = certificates.client_context()
        self.socket = TlsSocket(self.raw, self.context, self.server_name, self.session)

    def starttls(self):
        """STARTTLS and the handshake; the session starts anew (say EHLO again)."""
        self.expect("STARTTLS", 220, "2.0.0")
        self.handshake()

    @property
    def is_tls(self):
        return self.socket is not self.raw

    @property
    def tls(self):
        """The ssl.SSLObject: version(), cipher(), session, session_reused, getpeercert() ..."""
        return self.socket.tls

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
            try:
                more = self.socket.recv(65536)
            except ssl.SSLEOFError:
                raise ProtocolError("the TCP stream ended without TLS's close_notify; before that: "
                                    f"{self.pending!r}") from None
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
        """Reads the banner and says EHLO; returns its reply. With tls="starttls" it is the EHLO after
        the handshake."""
        banner = self.read_reply()
        if banner.code != 220:
            raise AssertionError(f"banner: {banner}")
        reply = self.expect(f"{verb} {name}", 250)
        if self.mode != "starttls":
            return reply
        self.starttls()
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

    def bdat(self, chunk, is_last=False):
        """One chunk (RFC 3030), command and bytes in one write; returns the reply."""
        self.send(bdat_chunk(chunk, is_last))
        return self.read_reply()

    def mail_bdat(self, sender, recipients, content, chunk_bytes=65536):
        """One whole transaction in chunks; returns the reply to the last."""
        self.start(sender, recipients)
        while len(content) > chunk_bytes:
            reply = self.bdat(content[:chunk_bytes])
            if reply.code != 250:
                return reply
            content = content[chunk_bytes:]
        return self.bdat(content, is_last=True)

    # --- AUTH; each returns the last reply ---

    def auth_plain(self, user, password, authorize="", is_initial=True):
        """RFC 4616, as an initial response or after the challenge."""
        answer = encoded(f"{authorize}\0{user}\0{password}")
        if is_initial:
            return self.command(f"AUTH PLAIN {answer}")
        reply = self.command("AUTH PLAIN")
        return reply if reply.code != 334 else self.command(answer)

    def auth_login(self, user, password):
        for line in ("AUTH LOGIN", encoded(user), encoded(password)):
            reply = self.command(line)
            if reply.code != 334:
                break
        return reply

    def auth_cram_md5(self, user, password):
        """RFC 2195."""
        reply = self.command("AUTH CRAM-MD5")
        if reply.code != 334:
            return reply
        challenge = base64.b64decode(reply.lines[0], validate=True)
        digest = hmac.new(password.encode("utf-8"), challenge, "md5").hexdigest()
        return self.command(encoded(f"{user} {digest}"))

    def auth_scram_sha_256(self, user, password, is_initial=True):
        """RFC 5802 and 7677, without channel binding. That the server knows the password too is
        checked; the last message of the server is answered with an empty line (RFC 4954)."""
        name = user.replace("=", "=3D").replace(",", "=2C")
        nonce = base64.b64encode(os.urandom(18)).decode("ascii")
        first = f"n={name},r={nonce}"
        if is_initial:
            reply = self.command(f"AUTH SCRAM-SHA-256 {encoded('n,,' + first)}")
        else:
            reply = self.command("AUTH SCRAM-SHA-256")
            if reply.code == 334:
                reply = self.command(encoded("n,," + first))
        if reply.code != 334:
            return reply
        challenge = base64.b64decode(reply.lines[0], validate=True).decode("utf-8")
        said = dict(part.split("=", 1) for part in challenge.split(","))
        if not said["r"].startswith(nonce) or len(said["r"]) == len(nonce):
            raise ProtocolError(f"SCRAM: not an extension of our nonce: {challenge}")
        salted = hashlib.pbkdf2_hmac("sha256", password.encode("utf-8"),
                                     base64.b64decode(said["s"], validate=True), int(said["i"]))
        final = f"c=biws,r={said['r']}"
        signed = f"{first},{challenge},{final}".encode("utf-8")
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        stored_key = hashlib.sha256(client_key).digest()
        proof = bytes(a ^ b for a, b in
                      zip(client_key, hmac.digest(stored_key, signed, "sha256"), strict=True))
        reply = self.command(encoded(f"{final},p={base64.b64encode(proof).decode('ascii')}"))
        if reply.code != 334:
            return reply
        server_key = hmac.digest(salted, b"Server Key", "sha256")
        signature = base64.b64encode(hmac.digest(server_key, signed, "sha256")).decode("ascii")
        last = base64.b64decode(reply.lines[0], validate=True).decode("ascii")
        if last != f"v={signature}":
            raise ProtocolError(f"SCRAM: the server's signature is wrong: {last}")
        return self.command("")


def encoded(text):
    """Base64, as AUTH's lines have it."""
    return base64.b64encode(text.encode("utf-8")).decode("ascii")


def bdat_chunk(chunk, is_last=False):
    return b"BDAT %d%s\r\n%s" % (len(chunk), b" LAST" if is_last else b"", chunk)


def proxy_v1(source, source_port=50000, target="127.0.0.1", target_port=25):
    """A PROXY protocol header, version 1; `source` None: UNKNOWN."""
    if source is None:
        return b"PROXY UNKNOWN\r\n"
    kind = "TCP6" if ":" in source else "TCP4"
    return f"PROXY {kind} {source} {target} {source_port} {target_port}\r\n".encode("ascii")


PROXY_V2_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def proxy_v2(source, source_port=50000, target="127.0.0.1", target_port=25, tlvs=(),
             is_local=False):
    """A PROXY protocol header, version 2. `tlvs`: (type, value) pairs; `source` None: no address
    (AF_UNSPEC); is_local: the command LOCAL."""
    if source is None:
        family, addresses = 0x00, b""
    else:
        address = ipaddress.ip_address(source)
        family = 0x11 if address.version == 4 else 0x21
        addresses = (address.packed + ipaddress.ip_address(target).packed +
                     struct.pack("!HH", source_port, target_port))
    rest = addresses + b"".join(struct.pack("!BH", kind, len(value)) + value
                                for kind, value in tlvs)
    command = 0x20 if is_local else 0x21
    return PROXY_V2_SIGNATURE + struct.pack("!BBH", command, family, len(rest)) + rest


def connected(port, **options):
    """A client that has said EHLO, under TLS if tls= asks for it."""
    client = Client(port, **options)
    try:
        client.greet()
    except BaseException:
        client.close()
        raise
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
