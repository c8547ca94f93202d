"""SMTP servers that do what a test says, and runs of load against them."""
import base64
import json
import os
import socket
import ssl
import subprocess
import threading

BIN = ""  # the folder of the tools; the test sets it


class Peer:
    """One connection of a scripted server, from the server's side."""

    def __init__(self, sock):
        self.sock = sock
        self.buffered = b""

    def more(self):
        data = self.sock.recv(65536)
        if not data:
            raise EOFError
        self.buffered += data

    def line(self):
        while b"\n" not in self.buffered:
            self.more()
        line, _, self.buffered = self.buffered.partition(b"\n")
        return line.rstrip(b"\r").decode("latin-1")

    def take(self, count):
        while len(self.buffered) < count:
            self.more()
        data, self.buffered = self.buffered[:count], self.buffered[count:]
        return data

    def until(self, end):
        while end not in self.buffered:
            self.more()
        data, _, self.buffered = self.buffered.partition(end)
        return data

    def body(self):
        """The data up to its end, which may be its first line."""
        self.buffered = b"\r\n" + self.buffered
        return (self.until(b"\r\n.\r\n") + b"\r\n")[2:]

    def say(self, text):
        self.sock.sendall(text.encode("latin-1") + b"\r\n")

    def secure(self, context):
        assert not self.buffered, self.buffered
        self.sock = context.wrap_socket(self.sock, server_side=True)


class Server:
    """Listens on a free port and runs `script(peer, server)` in a thread for each connection."""

    def __init__(self, script):
        self.script = script
        self.lock = threading.Lock()
        self.connections = 0
        self.seen = []  # what the script wants to keep
        self.failures = []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        peer = Peer(sock)
        try:
            self.script(peer, self)
        except (EOFError, OSError):
            pass
        except Exception as error:  # a failed assertion: the test looks at it
            self.failures.append(repr(error))
        finally:
            peer.sock.close()

    def keep(self, thing):
        with self.lock:
            self.seen.append(thing)

    def __enter__(self):
        return self

    def __exit__(self, *details):
        # shutdown wakes the accept, which close alone does not.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        if details[0] is None:
            assert not self.failures, self.failures


class Smtp:
    """A well-behaved script; what it does otherwise comes as members."""

    def __init__(self, extensions=("PIPELINING", "8BITMIME", "SIZE 99999999"), **changes):
        self.extensions = list(extensions)
        self.replies = {}  # verb: the reply in place of the usual one
        self.context = None  # TLS
        self.is_implicit = False
        self.secured_extensions = None
        for name, value in changes.items():
            assert hasattr(self, name), name
            setattr(self, name, value)

    def ehlo(self, peer):
        lines = ["test"] + self.extensions
        for line in lines[:-1]:
            peer.say("250-" + line)
        peer.say("250 " + lines[-1])

    def __call__(self, peer, server):
        if self.is_implicit:
            peer.secure(self.context)
            server.keep(("tls", peer.sock.version(), peer.sock.session_reused))
        peer.say("220 test")
        body = b""
        while True:
            line = peer.line()
            verb = line.split(" ")[0].upper()
            server.keep(line)
            if verb in self.replies:
                peer.say(self.replies[verb])
            elif verb == "EHLO":
                self.ehlo(peer)
            elif verb == "STARTTLS":
                peer.say("220 go")
                peer.secure(self.context)
                server.keep(("tls", peer.sock.version(), peer.sock.session_reused))
                self.extensions = self.secured_extensions or self.extensions
            elif verb == "DATA":
                peer.say("354 go")
                server.keep(("body", peer.body()))
                peer.say("250 taken")
            elif verb == "BDAT":
                words = line.split(" ")
                body += peer.take(int(words[1]))
                if words[-1] == "LAST":
                    server.keep(("body", body))
                    body = b""
                peer.say("250 taken")
            elif verb == "AUTH":
                self.auth(peer, server, line)
            elif verb == "QUIT":
                peer.say("221 bye")
                return
            else:
                peer.say("250 ok")

    def auth(self, peer, server, line):
        words = line.split(" ")
        if words[1] == "PLAIN":
            secret = base64.b64decode(words[2])
        elif words[1] == "LOGIN":
            secret = []
            for prompt in b"Username:", b"Password:":
                peer.say("334 " + base64.b64encode(prompt).decode())
                secret.append(base64.b64decode(peer.line()))
            secret = tuple(secret)
        else:
            peer.say("334 " + base64.b64encode(b"<1896.697170952@test>").decode())
            secret = base64.b64decode(peer.line())
        server.keep(("auth", secret))
        peer.say("235 welcome")


def bodies(server):
    return [thing[1] for thing in server.seen if thing[0] == "body"]


def handshakes(server):
    return [thing[1:] for thing in server.seen if thing[0] == "tls"]


def certificate(directory, name="server.test"):
    """A key and a certificate of its own for `name`: the path of both in one file."""
    path = os.path.join(directory, name + ".pem")
    key = path + ".key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", "/CN=" + name, "-addext", "subjectAltName=DNS:" + name,
         "-keyout", key, "-out", path], check=True, stderr=subprocess.DEVNULL)
    with open(key) as file, open(path, "a") as out:
        out.write(file.read())
    return path


def tls_context(path):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


def start_load(address, *options):
    command = [os.path.join(BIN, "load"), "--to", address, "--timeout", "60s", *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def end_load(process, want_exit=0):
    """The report, with what was said on standard error as `stderr`."""
    try:
        out, err = process.communicate(timeout=90)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert process.returncode == want_exit, (process.returncode, err, out)
    report = json.loads(out)
    report["stderr"] = err
    return report


def load(address, *options, want_exit=0):
    return end_load(start_load(address, *options), want_exit)
