"""TLS by the byte: hellos of any make, and records that no TLS library would send.

    answer = answer_to(raw, client_hello(versions=(), version=0x0302))   # Alert or Flight
    context = forging_context(ssl.TLSVersion.TLSv1_3)
    forger = forge(Client(port, context=context))   # does the handshake
    forger.send(ALERT, b"\\x01\\x5a")              # sealed with the session's own keys

The keys come from the key log that Python's ssl writes, the ciphers from libcrypto."""

import ctypes
import ctypes.util
import hashlib
import hmac
import os
import ssl
import struct
import tempfile

from tests.support import certificates

CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, DATA = 20, 21, 22, 23
SERVER_HELLO, CERTIFICATE, SERVER_HELLO_DONE = 2, 11, 14

# Descriptions of alerts (RFC 8446 6).
CLOSE_NOTIFY, UNEXPECTED_MESSAGE, BAD_RECORD_MAC, RECORD_OVERFLOW = 0, 10, 20, 22
HANDSHAKE_FAILURE, ILLEGAL_PARAMETER, DECODE_ERROR, PROTOCOL_VERSION = 40, 47, 50, 70
USER_CANCELED, NO_RENEGOTIATION, UNRECOGNIZED_NAME, NO_APPLICATION_PROTOCOL = 90, 100, 112, 120

ECDSA_AES128, RSA_AES128 = 0xC02B, 0xC02F  # ECDHE, GCM, SHA-256: of TLS 1.2


# --- hellos ---


def vector(data, length_bytes=2):
    return len(data).to_bytes(length_bytes, "big") + data


def extension(kind, data):
    return struct.pack("!H", kind) + vector(data)


def numbers(values):
    return b"".join(struct.pack("!H", value) for value in values)


def record(kind, data, version=0x0301):
    return struct.pack("!BHH", kind, version, len(data)) + data


def message(kind, data):
    """A message of the handshake."""
    return bytes([kind]) + vector(data, 3)


def client_hello(version=0x0303, ciphers=(ECDSA_AES128, RSA_AES128), versions=None, name=None,
                 alpn=None, signatures=(0x0403, 0x0804, 0x0401), more=b""):
    """The message (RFC 8446 4.1.2). `version` is the field of old; `versions` the extension of TLS
    1.3, None: left out. `name`: SNI as any bytes."""
    extensions = extension(10, vector(numbers((23, 29)))) + extension(11, b"\x01\x00")
    extensions += extension(13, vector(numbers(signatures)))
    if versions is not None:
        extensions += extension(43, vector(numbers(versions), 1))
    if name is not None:
        extensions += extension(0, vector(b"\x00" + vector(name)))
    if alpn is not None:
        extensions += extension(16, vector(b"".join(vector(one, 1) for one in alpn)))
    return message(1, struct.pack("!H", version) + os.urandom(32) + b"\x00" +
                   vector(numbers(ciphers)) + b"\x01\x00" + vector(extensions + more))


class Alert:
    def __init__(self, description):
        self.description = description

    def __repr__(self):
        return f"Alert({self.description})"


class Flight:
    """What a server of TLS 1.2 says up to its ServerHelloDone."""

    def __init__(self, messages):
        self.messages = messages

    @property
    def version(self):
        return int.from_bytes(self.messages[SERVER_HELLO][:2], "big")

    @property
    def fingerprint(self):
        """Of the first certificate, as Pair.fingerprint has it."""
        data = self.messages[CERTIFICATE][3:]
        length = int.from_bytes(data[:3], "big")
        return hashlib.sha256(data[3 : 3 + length]).hexdigest()


def messages_of(flow):
    found = {}
    while len(flow) >= 4 and len(flow) >= 4 + int.from_bytes(flow[1:4], "big"):
        length = int.from_bytes(flow[1:4], "big")
        found[flow[0]] = flow[4 : 4 + length]
        flow = flow[4 + length :]
    return found


def answer_to(raw, hello):
    """Sends the message in one record; an Alert, a Flight, or None for an end without a word."""
    raw.sendall(record(HANDSHAKE, hello))
    return read_answer(raw)


def read_answer(raw):
    pending, flow = b"", b""
    while True:
        try:
            more = raw.recv(65536)
        except ConnectionResetError:
            more = b""
        if not more:
            return None
        pending += more
        while len(pending) >= 5 and len(pending) >= 5 + int.from_bytes(pending[3:5], "big"):
            kind, length = pending[0], int.from_bytes(pending[3:5], "big")
            data, pending = pending[5 : 5 + length], pending[5 + length :]
            if kind == ALERT:
                return Alert(data[1])
            if kind != HANDSHAKE:
                raise AssertionError(f"a record of type {kind} in a handshake")
            flow += data
            messages = messages_of(flow)
            if SERVER_HELLO_DONE in messages:
                return Flight(messages)


# --- records of a session ---


def libcrypto():
    name = ctypes.util.find_library("crypto") or "libcrypto.so.3"
    library = ctypes.CDLL(name)
    for function in ("EVP_CIPHER_CTX_new", "EVP_aes_128_gcm", "EVP_aes_256_gcm",
                     "EVP_chacha20_poly1305"):
        getattr(library, function).restype = ctypes.c_void_p
    return library


class Aead:
    """One key (RFC 5116); libcrypto's EVP interface."""

    SET_IV_BYTES, GET_TAG, TAG_BYTES = 0x9, 0x10, 16

    def __init__(self, function, key):
        self.library = libcrypto()
        self.cipher = ctypes.c_void_p(getattr(self.library, function)())
        self.key = key

    def seal(self, nonce, data, associated):
        library = self.library
        context = ctypes.c_void_p(library.EVP_CIPHER_CTX_new())
        out = ctypes.create_string_buffer(len(data) + 64)
        size, tag = ctypes.c_int(0), ctypes.create_string_buffer(self.TAG_BYTES)
        try:
            steps = [library.EVP_EncryptInit_ex(context, self.cipher, None, self.key, nonce),
                     library.EVP_EncryptUpdate(context, None, ctypes.byref(size), associated,
                                               len(associated)),
                     library.EVP_EncryptUpdate(context, out, ctypes.byref(size), data, len(data)),
                     library.EVP_EncryptFinal_ex(context, tag, ctypes.byref(size)),
                     library.EVP_CIPHER_CTX_ctrl(context, self.GET_TAG, self.TAG_BYTES, tag)]
        finally:
            library.EVP_CIPHER_CTX_free(context)
        if steps != [1] * len(steps):
            raise AssertionError(f"libcrypto: {steps}")
        return out.raw[: len(data)] + tag.raw


def expand(secret, info, length, digest):
    """HKDF-Expand (RFC 5869)."""
    out, block = b"", b""
    for count in range(1, 256):
        if len(out) >= length:
            break
        block = hmac.digest(secret, block + info + bytes([count]), digest)
        out += block
    return out[:length]


def expand_label(secret, label, length, digest):
    """RFC 8446 7.1, without a context."""
    return expand(secret, struct.pack("!H", length) + vector(b"tls13 " + label, 1) + b"\x00",
                  length, digest)


def prf(secret, seed, length, digest="sha256"):
    """RFC 5246 5."""
    out, block = b"", seed
    while len(out) < length:
        block = hmac.digest(secret, block, digest)
        out += hmac.digest(secret, block + seed, digest)
    return out[:length]


class Recorded:
    """A socket that keeps what came in."""

    def __init__(self, raw):
        self.inner = raw
        self.received = b""

    def recv(self, count):
        data = self.inner.recv(count)
        self.received += data
        return data

    def __getattr__(self, name):
        return getattr(self.inner, name)


class Forger:
    """Seals what the client sends from here on, in the place of Python's ssl, which still reads.
    The client must not have sent data yet: its records are counted."""

    SUITES = {
        "TLS_AES_128_GCM_SHA256": ("EVP_aes_128_gcm", 16, "sha256"),
        "TLS_AES_256_GCM_SHA384": ("EVP_aes_256_gcm", 32, "sha384"),
        "TLS_CHACHA20_POLY1305_SHA256": ("EVP_chacha20_poly1305", 32, "sha256"),
        "ECDHE-ECDSA-AES128-GCM-SHA256": ("EVP_aes_128_gcm", 16, "sha256"),
    }

    def __init__(self, client, key_log, received):
        self.raw = client.raw
        self.is_1_3 = client.tls.version() == "TLSv1.3"
        self.function, self.key_bytes, self.digest = self.SUITES[client.tls.cipher()[0]]
        label = "CLIENT_TRAFFIC_SECRET_0" if self.is_1_3 else "CLIENT_RANDOM"
        line = [line.split() for line in key_log.split("\n") if line.startswith(label + " ")][-1]
        random, secret = bytes.fromhex(line[1]), bytes.fromhex(line[2])
        if self.is_1_3:
            self.use_secret(secret)
            return
        # record header, header of the message, version, then the random bytes
        block = prf(secret, b"key expansion" + received[11:43] + random, 2 * self.key_bytes + 8)
        self.aead = Aead(self.function, block[: self.key_bytes])
        self.iv = block[2 * self.key_bytes : 2 * self.key_bytes + 4]
        self.sequence = 1  # Finished was the first

    def use_secret(self, secret):
        self.secret = secret
        self.aead = Aead(self.function, expand_label(secret, b"key", self.key_bytes, self.digest))
        self.iv = expand_label(secret, b"iv", 12, self.digest)
        self.sequence = 0

    def seal(self, kind, data):
        """The record, sealed."""
        sequence = struct.pack("!Q", self.sequence)
        self.sequence += 1
        if self.is_1_3:
            header = struct.pack("!BHH", DATA, 0x0303, len(data) + 1 + Aead.TAG_BYTES)
            counter = int.from_bytes(sequence, "big")
            nonce = (int.from_bytes(self.iv, "big") ^ counter).to_bytes(12, "big")
            return header + self.aead.seal(nonce, data + bytes([kind]), header)
        associated = sequence + struct.pack("!BHH", kind, 0x0303, len(data))
        sealed = self.aead.seal(self.iv + sequence, data, associated)
        return record(kind, sequence + sealed, 0x0303)

    def key_update(self, asks=False):
        """The record of a KeyUpdate (RFC 8446 4.6.3); what follows has the next key."""
        sealed = self.seal(HANDSHAKE, message(24, bytes([asks])))
        self.use_secret(expand_label(self.secret, b"traffic upd", len(self.secret), self.digest))
        return sealed

    def send(self, kind, data):
        self.raw.sendall(self.seal(kind, data))


def forging_context(version):
    """A context for forge(), and for one client."""
    ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256" if version == ssl.TLSVersion.TLSv1_2 else None
    context = certificates.client_context(minimum=version, maximum=version, ciphers=ciphers)
    handle, path = tempfile.mkstemp(prefix="keys-")
    os.close(handle)
    context.keylog_filename = path
    return context


def forge(client):
    """Does the handshake of a client that has a forging_context(), and takes over its sending."""
    recorded = client.raw = client.socket = Recorded(client.raw)
    client.handshake()
    path = client.context.keylog_filename
    with open(path, encoding="ascii") as file:
        key_log = file.read()
    client.context.keylog_filename = None
    os.unlink(path)
    return Forger(client, key_log, recorded.received)
