"""A small scripted next hop that speaks STARTTLS, TLS from the first byte on, AUTH, and LMTP.

    hop = SecureHop(pair=certificates.server("mx1.example.test"), users={"relay": "secret"})
    hop = SecureHop(is_lmtp=True, unknown={"nobody@box.test"}, unix_path="/tmp/x")
    hop.messages            # [(is_tls, sender, recipients, content)]
    hop.auth_count          # AUTH commands so far

`replies` gives a fixed answer to a verb ("STARTTLS": b"454 4.7.0 not now\\r\\n"). sink_server.py is the
one that looks at every byte of a transaction; this one is for what comes before it."""

import base64
import hashlib
import hmac
import os
import socket
import ssl
import threading

TIMEOUT_SECONDS = 30.0


class SecureHop:
    def __init__(self, pair=None, implicit=False, users=None, mechanisms=None, is_lmtp=False,
                 unknown=(), replies=None, offers=("PIPELINING", "8BITMIME"), unix_path=None,
                 greeting="mx.hop.test", host="127.0.0.1", port=0):
        self.pair, self.implicit, self.users = pair, implicit, users
        self.mechanisms = list(mechanisms or ["PLAIN"])
        self.is_lmtp, self.unknown, self.replies = is_lmtp, set(unknown), dict(replies or {})
        self.offers, self.greeting = list(offers), greeting
        self.messages, self.lines, self.auth_count, self.session_count = [], [], 0, 0
        self.lock = threading.Lock()
        if unix_path is not None:
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(unix_path)
            self.address = f"unix:{unix_path}"
        else:
            self.listener = socket.socket()
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.listener.bind((host, port))
            self.port = self.listener.getsockname()[1]
            self.address = f"{host}:{self.port}"
        self.listener.listen(64)
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()

    def close(self):
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        self.thread.join(TIMEOUT_SECONDS)

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            connection.settimeout(TIMEOUT_SECONDS)
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        with self.lock:
            self.session_count += 1
        session = Session(self, connection)
        try:
            session.run()
        except (OSError, ValueError, EOFError):
            pass
        finally:
            session.connection.close()  # of TLS, when that was begun


class Session:
    def __init__(self, hop, connection):
        self.hop, self.connection = hop, connection
        self.pending, self.is_tls, self.user = b"", False, None
        self.sender, self.recipients = None, []

    def secure(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.hop.pair.chain, self.hop.pair.key)
        self.connection = context.wrap_socket(self.connection, server_side=True)
        self.is_tls = True

    def line(self):
        while b"\r\n" not in self.pending:
            more = self.connection.recv(65536)
            if not more:
                raise EOFError
            self.pending += more
        line, _, self.pending = self.pending.partition(b"\r\n")
        with self.hop.lock:
            self.hop.lines.append((self.is_tls, line))
        return line

    def say(self, *lines):
        code = lines[0][:3]
        for at, text in enumerate(lines):
            words = text if at == 0 else f"{code} {text}"
            dash = words[:3] + ("-" if at + 1 < len(lines) else " ") + words[4:]
            self.connection.sendall(dash.encode("utf-8") + b"\r\n")

    def run(self):
        if self.hop.implicit:
            self.secure()
        self.say(f"220 {self.hop.greeting} ready")
        while True:
            line = self.line()
            verb = line.split(b" ")[0].upper().decode("ascii")
            if verb in self.hop.replies:
                self.connection.sendall(self.hop.replies[verb])
                if verb == "STARTTLS" and self.hop.replies[verb].startswith(b"220"):
                    self.connection.recv(65536)  # a handshake begins, and gets no answer that is one
                    self.connection.sendall(b"500 5.5.2 what\r\n")
                    return
                continue
            if verb == "QUIT":
                self.say("221 2.0.0 bye")
                return
            getattr(self, "on_" + verb.lower(), self.on_unknown)(line)

    def on_unknown(self, _line):
        self.say("500 5.5.2 what")

    def offer(self):
        lines = [f"250 {self.hop.greeting}", *self.hop.offers]
        if self.hop.pair is not None and not self.is_tls:
            lines.append("STARTTLS")
        if self.hop.users is not None:
            lines.append("AUTH " + " ".join(self.hop.mechanisms))
        self.say(*lines)

    def on_ehlo(self, _line):
        if self.hop.is_lmtp:
            self.on_unknown(_line)
        else:
            self.offer()

    def on_lhlo(self, _line):
        self.offer()

    def on_starttls(self, _line):
        self.say("220 2.0.0 go")
        self.secure()
        self.pending = b""

    # --- AUTH ---

    def ask(self, challenge):
        self.connection.sendall(b"334 " + base64.b64encode(challenge) + b"\r\n")
        return base64.b64decode(self.line(), validate=True)

    def on_auth(self, line):
        words = line.decode("ascii").split(" ")
        with self.hop.lock:
            self.hop.auth_count += 1
        initial = base64.b64decode(words[2]) if len(words) > 2 else None
        check = {"PLAIN": self.plain, "LOGIN": self.login, "CRAM-MD5": self.cram,
                 "SCRAM-SHA-256": self.scram}[words[1]]
        self.user = check(initial)
        if self.user is None:
            self.say("535 5.7.8 no such user or password")
        else:
            self.say("235 2.7.0 welcome")

    def known(self, user, password):
        return user if self.hop.users.get(user) == password else None

    def plain(self, initial):
        _, user, password = (initial or self.ask(b"")).split(b"\0")
        return self.known(user.decode(), password.decode())

    def login(self, _initial):
        user = self.ask(b"User Name\0").decode()
        return self.known(user, self.ask(b"Password\0").decode())

    def cram(self, _initial):
        challenge = b"<1896.697170952@hop.test>"
        user, _, digest = self.ask(challenge).decode().rpartition(" ")
        password = self.hop.users.get(user, "")
        want = hmac.new(password.encode(), challenge, hashlib.md5).hexdigest()
        return user if user in self.hop.users and digest == want else None

    def scram(self, initial):
        bare = initial.decode().partition(",,")[2]
        fields = dict(part.split("=", 1) for part in bare.split(","))
        nonce, salt, rounds = fields["r"] + base64.b64encode(os.urandom(9)).decode(), os.urandom(16), 4096
        first = f"r={nonce},s={base64.b64encode(salt).decode()},i={rounds}"
        final = self.ask(first.encode()).decode()
        salted = hashlib.pbkdf2_hmac("sha256", self.hop.users.get(fields["n"], "").encode(), salt, rounds)
        client_key = hmac.new(salted, b"Client Key", hashlib.sha256).digest()
        without_proof, _, proof = final.rpartition(",p=")
        message = f"{bare},{first},{without_proof}".encode()
        signature = hmac.new(hashlib.sha256(client_key).digest(), message, hashlib.sha256).digest()
        want = bytes(a ^ b for a, b in zip(client_key, signature))
        if base64.b64decode(proof) != want:
            return None
        server_key = hmac.new(salted, b"Server Key", hashlib.sha256).digest()
        verifier = hmac.new(server_key, message, hashlib.sha256).digest()
        if "lie" in self.hop.replies:
            verifier = bytes(32)
        self.ask(b"v=" + base64.b64encode(verifier))
        return fields["n"]

    # --- a transaction ---

    def on_mail(self, line):
        if self.hop.users is not None and self.user is None:
            self.say("530 5.7.0 who are you")
            return
        self.sender, self.recipients = line.decode().partition("<")[2].partition(">")[0], []
        self.say("250 2.1.0 ok")

    def on_rcpt(self, line):
        recipient = line.decode().partition("<")[2].partition(">")[0]
        if recipient in self.hop.unknown:
            self.say("550 5.1.1 no such user here")
            return
        self.recipients.append(recipient)
        self.say("250 2.1.5 ok")

    def on_rset(self, _line):
        self.say("250 2.0.0 ok")

    def on_data(self, _line):
        if not self.recipients:
            self.say("554 5.5.1 for nobody")
            return
        self.say("354 go on")
        while b"\r\n.\r\n" not in b"\r\n" + self.pending:
            more = self.connection.recv(65536)
            if not more:
                raise EOFError
            self.pending += more
        content, _, self.pending = (b"\r\n" + self.pending).partition(b"\r\n.\r\n")
        content = (content + b"\r\n")[2:].replace(b"\r\n.", b"\r\n")
        with self.hop.lock:
            self.hop.messages.append((self.is_tls, self.sender, list(self.recipients), content))
        if not self.hop.is_lmtp:
            self.say("250 2.0.0 taken")
            return
        for recipient in self.recipients:
            full = recipient.startswith("full")
            self.say("452 4.2.2 mailbox full" if full else f"250 2.0.0 {recipient} saved")
