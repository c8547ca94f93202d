"""The messages that every sender sends: each a fact about bytes that a gateway may get wrong.

Lines end with CRLF here. A program that reads lines as Unix has them is given the same with LF; so
no message has a CR or LF alone, which no such program could be told to send."""

import random

BIG_BYTES = 25 << 20
SENDER = "sender@client.test"


def header(name, recipient):
    return (f"From: <{SENDER}>\r\nTo: <{recipient}>\r\nSubject: {name}\r\n"
            "Date: Mon, 01 Jan 2024 12:00:00 +0000\r\n"
            f"Message-ID: <{name}.{recipient}>\r\nMIME-Version: 1.0\r\n"
            "Content-Type: text/plain; charset=utf-8\r\n"
            "Content-Disposition: inline\r\nContent-Transfer-Encoding: 8bit\r\n").encode("ascii")


class Message:
    """One message: `path` has the bytes with CRLF, `unix_path` with LF."""

    def __init__(self, folder, name, recipient, content):
        self.name = name
        self.sender = SENDER
        self.recipient = recipient
        self.content = content
        self.path = folder / f"{name}.eml"
        self.unix_path = folder / f"{name}.txt"
        self.path.write_bytes(content)
        self.unix_path.write_bytes(content.replace(b"\r\n", b"\n"))

    def remove(self):
        self.path.unlink()
        self.unix_path.unlink()


def plain(name, recipient):
    return header(name, recipient) + b"\r\nA message.\r\n\r\n  Blanks stay:  \r\n\tand tabs\t\r\n"


def eight_bit(name, recipient):
    """Every byte from 0x80 on, alone and as UTF-8."""
    body = b"\r\n"
    body += "Grüße, 世界, привет\r\n".encode("utf-8")
    body += b"".join(bytes([byte]) * 3 + b"\r\n" for byte in range(0x80, 0x100))
    return header(name, recipient) + body + bytes(range(0x80, 0x100)) + b"\r\n"


def dots(name, recipient):
    """What stuffing may lose or double, and what looks like an end."""
    lines = [b".", b"..", b"...", b".x", b"..x", b"x.", b" .", b". ", b"." * 998, b"."]
    body = b"\r\n".join([*lines, b"", *([b"."] * 2000), b"", b"QUIT", b".", b"", b"."])
    return header(name, recipient) + b"\r\n" + body + b"\r\n"


def big(name, recipient):
    """Of exactly BIG_BYTES; some lines begin with a dot, at places that no buffer size divides."""
    head = header(name, recipient) + b"\r\n"
    chooser = random.Random(25)
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    page = []
    for number in range(997):
        line = bytes(chooser.choices(alphabet, k=chooser.randrange(1, 77)))
        page.append(b"." + line if number % 13 == 0 else line)
    page = b"\r\n".join(page) + b"\r\n"
    rest = BIG_BYTES - len(head)
    body = (page * (rest // len(page) + 1))[: rest - 2]
    # The cut must leave no half of a CRLF.
    return head + body[:-2].rstrip(b"\r\n").ljust(len(body), b"=") + b"\r\n"


def empty(_name, _recipient):
    return b""


MAKERS = {"one": plain, "eight-bit": eight_bit, "dots": dots, "big": big, "empty": empty}
HUNDRED = 100


def made(folder, kind, tag):
    """The messages of one kind, `tag` makes the recipients unique: TAG-KIND@..."""
    folder.mkdir(parents=True, exist_ok=True)
    local, domain = tag.split("@")
    if kind != "hundred":
        recipient = f"{local}-{kind}@{domain}"
        return [Message(folder, kind, recipient, MAKERS[kind](kind, recipient))]
    found = []
    for number in range(HUNDRED):
        name = f"hundred-{number}"
        recipient = f"{local}-{name}@{domain}"
        found.append(Message(folder, name, recipient, plain(name, recipient)))
    return found
