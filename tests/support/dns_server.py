"""A scripted name server on loopback, UDP and TCP on the same port, and the few records tests need.

    dns = DnsServer()
    dns.add(mx("example.test", 10, "mx1.example.test"), a("mx1.example.test", "127.0.0.2"))
    dns.script("broken.test", "MX", Answer(code=SERVFAIL))
    dns.count("example.test", "MX")        # questions so far

What was only added is answered as an authority would: the records, or no records for another type
(NOERROR), and NXDOMAIN for a name that nobody knows. CNAMEs are not followed: who wants several in
one answer scripts it. A script replaces all of it for one name and type; a function gets the Query
and returns an Answer, bytes that go out as they are, or None for the usual answer."""

import ipaddress
import socket
import struct
import threading

TYPES = {"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28, "OPT": 41}
TYPE_NAMES = {number: name for name, number in TYPES.items()}
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = range(6)
UDP_OCTETS = 512  # without EDNS (RFC 1035 4.2.1)
MESSAGE_OCTETS_MAX = 65535
CLASS_IN = 1
FLAG_ANSWER, FLAG_AUTHORITY, FLAG_TRUNCATED, FLAG_RECURSION = 0x8000, 0x0400, 0x0200, 0x0080
FLAG_AUTHENTIC = 0x0020
TIMEOUT_SECONDS = 20.0


def wire_name(name):
    """The name in the wire format, uncompressed."""
    labels = [label.encode("ascii") for label in name.rstrip(".").split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def record(name, kind, data, ttl=300):
    """(lower-case name, type, its bytes on the wire)."""
    head = struct.pack("!HHIH", TYPES[kind], CLASS_IN, ttl, len(data))
    return name.rstrip(".").lower(), kind, wire_name(name) + head + data


def mx(name, preference, host, ttl=300):
    return record(name, "MX", struct.pack("!H", preference) + wire_name(host), ttl)


def address(name, text, ttl=300):
    """A or AAAA."""
    parsed = ipaddress.ip_address(text)
    return record(name, "A" if parsed.version == 4 else "AAAA", parsed.packed, ttl)


def cname(name, target, ttl=300):
    return record(name, "CNAME", wire_name(target), ttl)


def ptr(text, host, ttl=300):
    """`text` is the address."""
    return record(ipaddress.ip_address(text).reverse_pointer, "PTR", wire_name(host), ttl)


def txt(name, data, ttl=300):
    parts = [data[at : at + 255] for at in range(0, len(data), 255)] or [b""]
    return record(name, "TXT", b"".join(bytes([len(part)]) + part for part in parts), ttl)


class Query:
    """One question as it came."""

    def __init__(self, data, is_tcp):
        self.data = data
        self.is_tcp = is_tcp
        self.id, self.flags, questions, _, _, additional = struct.unpack_from("!6H", data)
        if questions != 1:
            raise ValueError(f"{questions} questions")
        labels, at = [], 12
        while data[at]:
            length = data[at]
            if length > 63:
                raise ValueError("a compressed question")
            labels.append(data[at + 1 : at + 1 + length].decode("ascii"))
            at += 1 + length
        self.name = ".".join(labels).lower()
        number, = struct.unpack_from("!H", data, at + 1)
        self.kind = TYPE_NAMES.get(number, str(number))
        self.question = data[12 : at + 5]
        self.octets_max = MESSAGE_OCTETS_MAX if is_tcp else UDP_OCTETS
        rest = data[at + 5 :]
        if additional and not is_tcp and rest[:3] == b"\0\0\x29":
            self.octets_max = max(UDP_OCTETS, struct.unpack_from("!H", rest, 3)[0])


class Answer:
    """What is said to one question. `records` are the answer section. `is_truncated`: with TC and no
    records over UDP, whole over TCP. `is_silent`: never answered, and so is a TCP connection with
    `stalls_tcp`. `change`: gets the message's bytes and returns those that go out."""

    def __init__(self, *records, code=NOERROR, is_authentic=False, is_truncated=False,
                 is_silent=False, stalls_tcp=False, change=None):
        self.records = records
        self.code = code
        self.is_authentic = is_authentic
        self.is_truncated = is_truncated
        self.is_silent = is_silent
        self.stalls_tcp = stalls_tcp
        self.change = change

    def message(self, query):
        """The bytes that answer it; None: nothing is said."""
        if self.is_silent or (self.stalls_tcp and query.is_tcp):
            return None
        body = b"".join(data for _, _, data in self.records)
        is_cut = not query.is_tcp and (self.is_truncated
                                       or 12 + len(query.question) + len(body) > query.octets_max)
        flags = (FLAG_ANSWER | FLAG_AUTHORITY | FLAG_RECURSION | (query.flags & 0x0100) | self.code
                 | (FLAG_AUTHENTIC if self.is_authentic else 0) | (FLAG_TRUNCATED if is_cut else 0))
        count = 0 if is_cut else len(self.records)
        message = (struct.pack("!6H", query.id, flags, 1, count, 0, 0) + query.question
                   + (b"" if is_cut else body))
        return message if self.change is None else self.change(message)


def with_id_off(message):
    """Another id than the question's."""
    return struct.pack("!H", struct.unpack_from("!H", message)[0] ^ 0x5555) + message[2:]


def with_question(name):
    """Answers another question of the same type."""
    def change(message):
        at = 12
        while message[at]:
            at += 1 + message[at]
        return message[:12] + wire_name(name) + message[at + 1 :]

    return change


def looping_answer(query):
    """One MX whose host is a compression pointer to itself (RFC 1035 4.1.4)."""
    head = struct.pack("!6H", query.id, FLAG_ANSWER | FLAG_RECURSION, 1, 1, 0, 0) + query.question
    owner = struct.pack("!HHHIH", 0xC00C, TYPES["MX"], CLASS_IN, 300, 4) + struct.pack("!H", 10)
    return head + owner + struct.pack("!H", 0xC000 | (len(head) + len(owner)))


def overlong_answer(query):
    """One MX whose RDLENGTH goes beyond the end of the message."""
    head = struct.pack("!6H", query.id, FLAG_ANSWER | FLAG_RECURSION, 1, 1, 0, 0) + query.question
    return head + struct.pack("!HHHIHH", 0xC00C, TYPES["MX"], CLASS_IN, 300, 4000, 10) + b"\1a\0"


class DnsServer:
    def __init__(self, host="127.0.0.1"):
        self.lock = threading.Lock()
        self.records = {}  # name: [(name, type, bytes)]
        self.scripts = {}  # (name, type): Answer or function
        self.queries = []  # every one that came, whatever it was answered
        self.is_down = False  # then nothing is answered
        self.stopping = threading.Event()
        self.udp, self.tcp = self.bind(host)
        self.port = self.udp.getsockname()[1]
        self.address = f"{host}:{self.port}"
        self.connections = set()
        self.threads = [threading.Thread(target=work, daemon=True)
                        for work in (self.serve_udp, self.serve_tcp)]
        for thread in self.threads:
            thread.start()

    @staticmethod
    def bind(host):
        """A UDP and a TCP socket on one free port."""
        for _ in range(50):
            tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            tcp.bind((host, 0))
            udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                udp.bind(tcp.getsockname())
                tcp.listen(64)
                return udp, tcp
            except OSError:
                udp.close()
                tcp.close()
        raise AssertionError("no port is free for both UDP and TCP")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.stopping.set()
        for bound in (self.udp, self.tcp):
            try:
                bound.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        # A UDP socket that nobody sends to again is woken by a datagram of ours.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
            waker.sendto(b"", self.udp.getsockname())
        with self.lock:
            for connection in self.connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
        for thread in self.threads:
            thread.join(TIMEOUT_SECONDS)
        self.udp.close()
        self.tcp.close()

    # --- what it says ---

    def add(self, *records):
        with self.lock:
            for entry in records:
                self.records.setdefault(entry[0], []).append(entry)

    def script(self, name, kind, answer):
        with self.lock:
            self.scripts[name.lower(), kind] = answer

    def forget(self, name):
        """Takes away all that is known of the name."""
        with self.lock:
            self.records.pop(name.lower(), None)
            for key in [key for key in self.scripts if key[0] == name.lower()]:
                del self.scripts[key]

    def host(self, name, *addresses, ttl=300):
        """Adds A and AAAA records."""
        self.add(*(address(name, text, ttl) for text in addresses))

    def usual(self, query):
        known = self.records.get(query.name)
        if known is None:
            return Answer(code=NXDOMAIN)
        of_kind = [entry for entry in known if entry[1] in (query.kind, "CNAME")]
        return Answer(*of_kind)

    def answer(self, query):
        """The bytes for a question, or None."""
        with self.lock:
            self.queries.append(query)
            if self.is_down:
                return None
            script = self.scripts.get((query.name, query.kind))
            usual = self.usual(query)
        said = script(query) if callable(script) else script
        if said is None:
            said = usual
        return said if isinstance(said, bytes) else said.message(query)

    # --- what was asked ---

    def count(self, name=None, kind=None, is_tcp=None):
        with self.lock:
            return sum(1 for query in self.queries
                       if name in (None, query.name) and kind in (None, query.kind)
                       and is_tcp in (None, query.is_tcp))

    # --- serving ---

    def serve_udp(self):
        while not self.stopping.is_set():
            try:
                data, peer = self.udp.recvfrom(65536)
                said = self.answer(Query(data, is_tcp=False)) if data else None
                if said is not None:
                    self.udp.sendto(said, peer)
            except (ValueError, IndexError, struct.error):
                continue  # no question at all: nothing is said
            except OSError:
                if self.stopping.is_set():
                    return

    def serve_tcp(self):
        while not self.stopping.is_set():
            try:
                connection, _ = self.tcp.accept()
            except OSError:
                return
            connection.settimeout(TIMEOUT_SECONDS)
            with self.lock:
                self.connections.add(connection)
            threading.Thread(target=self.serve_connection, args=(connection,), daemon=True).start()

    def serve_connection(self, connection):
        try:
            while True:
                size = read_exactly(connection, 2)
                data = read_exactly(connection, struct.unpack("!H", size)[0])
                said = self.answer(Query(data, is_tcp=True))
                if said is None:
                    self.stopping.wait(TIMEOUT_SECONDS)
                    return
                connection.sendall(struct.pack("!H", len(said)) + said)
        except (OSError, ValueError, IndexError, struct.error):
            pass
        finally:
            with self.lock:
                self.connections.discard(connection)
            connection.close()


def read_exactly(connection, count):
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            raise OSError("the peer went away")
        data += more
    return data


# --- asking, for tests of the servers themselves ---


def ask(server, name, kind, is_tcp=False, seconds=5.0, octets=0):
    """Asks HOST:PORT: (code, flags, number of answers, the message's bytes). `octets`: said by EDNS."""
    host, _, port = server.rpartition(":")
    extra = struct.pack("!BHHIH", 0, TYPES["OPT"], octets, 0, 0) if octets else b""
    query = (struct.pack("!6H", 0x4242, 0x0100, 1, 0, 0, 1 if extra else 0) + wire_name(name)
             + struct.pack("!HH", TYPES[kind], CLASS_IN) + extra)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM if is_tcp else socket.SOCK_DGRAM) as asker:
        asker.settimeout(seconds)
        asker.connect((host, int(port)))
        if is_tcp:
            asker.sendall(struct.pack("!H", len(query)) + query)
            said = read_exactly(asker, struct.unpack("!H", read_exactly(asker, 2))[0])
        else:
            asker.sendall(query)
            said = asker.recv(65536)
    _, flags, _, answers, _, _ = struct.unpack_from("!6H", said)
    return flags & 15, flags, answers, said
