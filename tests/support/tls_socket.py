"""TLS over a TCP socket that stays usable below it.

Python's own ssl.SSLSocket takes the descriptor for itself. Tests of what happens below TLS (bytes in
the clear after the handshake, a record cut in two, an end without close_notify) need both layers, so
this one keeps the records in memory: `raw` is the TCP socket, and `records(data)` are the bytes that
would be sent for `data`."""

import ssl

RECORD_READ_BYTES = 65536


class TlsSocket:
    def __init__(self, raw, context, server_name=None, session=None):
        """Does the handshake. On a failure the exception is raised after the alert has gone out."""
        self.raw = raw
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=server_name,
                                    session=session)
        self.run(self.tls.do_handshake)

    def run(self, step, *arguments):
        """Runs one step of TLS, reading and writing as it asks for."""
        while True:
            try:
                value = step(*arguments)
                self.flush()
                return value
            except ssl.SSLWantReadError:
                self.flush()
                self.fill()
            except ssl.SSLError:
                try:
                    self.flush()
                except OSError:
                    pass
                raise

    def fill(self):
        more = self.raw.recv(RECORD_READ_BYTES)
        if more:
            self.incoming.write(more)
        else:
            self.incoming.write_eof()

    def flush(self):
        if self.outgoing.pending:
            self.raw.sendall(self.outgoing.read())

    # --- as a socket ---

    def sendall(self, data):
        self.tls_write(data)
        self.flush()

    def tls_write(self, data):
        view = memoryview(data)
        while view:
            view = view[self.tls.write(view) :]

    def recv(self, count):
        """b"" after close_notify, and only then: an end of the TCP stream alone is an ssl.SSLError
        (ssl.SSLEOFError), as it must be for a reader that fears truncation."""
        try:
            return self.run(self.tls.read, count)
        except ssl.SSLZeroReturnError:
            return b""

    def gettimeout(self):
        return self.raw.gettimeout()

    def settimeout(self, seconds):
        self.raw.settimeout(seconds)

    def setsockopt(self, *arguments):
        self.raw.setsockopt(*arguments)

    def getsockname(self):
        return self.raw.getsockname()

    def shutdown(self, how):
        """close_notify and then the TCP shutdown."""
        self.close_notify()
        self.raw.shutdown(how)

    def close(self):
        self.raw.close()

    # --- below TLS ---

    def records(self, data):
        """The bytes of the records that carry `data`; the caller sends them, all or in parts."""
        self.tls_write(data)
        return self.outgoing.read()

    def close_notify(self):
        """Sends close_notify and waits for nothing."""
        try:
            self.tls.unwrap()
        except ssl.SSLError:
            pass
        self.flush()
