"""Nobody relays through us who has no right to (list R, the probes of nmap and DSBL), and what stands
in a local part stays there, byte for byte (A4, A8 to A13)."""

from tests.support.daemon_case import DaemonTest, under_tls
from tests.support.gateway import listener, tls_settings, wait_until

US, EXT, OUR_IP = "us.test", "ext.test", "[127.0.0.1]"
DENIED, NO_PATH = (550, "5.7.1"), (501, "5.1.3")
LIMITS = {"errors": 10000, "junk_commands": 10000}

# R1 to R32: what each is answered, whoever the sender is.
RECIPIENTS = {
    f"<u@{EXT}>": DENIED,
    f'<"u@{EXT}">': NO_PATH,
    f'"u@{EXT}"': NO_PATH,
    f"u@{EXT}": NO_PATH,
    f"<{EXT}!u>": NO_PATH,
    f"<u%{EXT}@{US}>": DENIED,
    f"<u%{EXT}@{OUR_IP}>": DENIED,
    f'<"u%{EXT}">': NO_PATH,
    f"<u@{EXT}@{US}>": NO_PATH,
    f"<u@{EXT}@{OUR_IP}>": NO_PATH,
    f'<"u@{EXT}"@{US}>': DENIED,
    f'<"u@{EXT}"@{OUR_IP}>': DENIED,
    f"<@{US}:u@{EXT}>": DENIED,
    f"<@{OUR_IP}:u@{EXT}>": DENIED,
    f"<{EXT}!u@{US}>": DENIED,
    f"<{EXT}!u@{OUR_IP}>": DENIED,
    f"<u@{EXT}.>": DENIED,
    f"<u@{US}%{EXT}>": NO_PATH,
    # and what else looks like us
    f"<user@{US}@{EXT}>": NO_PATH,
    f"<user@{US}.{EXT}>": DENIED,
    f"<user@x{US}>": DENIED,
    f"<user@sub.{US}>": DENIED,
    "<user@test>": DENIED,
    f"<user@{US},u@{EXT}>": NO_PATH,
    f"<u@{EXT}:user@{US}>": NO_PATH,
    f"<@{EXT}:u@{EXT}>": DENIED,
    f"<user@{US}>,<u@{EXT}>": NO_PATH,
    f"<user@{OUR_IP}>": DENIED,
    f"<user@{US}.test>": DENIED,
    "<user>": NO_PATH,
}
SENDERS = ("<>", f"<s@{EXT}>", f"<s@{US}>", f"<s@{OUR_IP}>", f"<user@{US}>", f"<@{US}:s@{US}>")
BAD_SENDERS = ("<nobody>", f"<{EXT}!s>", f"s@{US}")


class RelayTest(DaemonTest):
    """Of us.test only `user` is taken, for whom is nobody else."""

    settings = {
        "listener": {"limits": LIMITS},
        "routes": [{"match": {"recipient": [f"user@{US}"]}, "action": {"discard": {}}}],
    }

    def check(self, name):
        client = self.client()
        client.expect(f"EHLO {name}", 250)
        for sender in SENDERS:
            for recipient, (code, status) in RECIPIENTS.items():
                client.expect("RSET", 250)
                client.expect(f"MAIL FROM:{sender}", 250)
                reply = client.command(f"RCPT TO:{recipient}")
                self.assert_reply(reply, code, status, f"{sender} {recipient}")
                client.expect("DATA", 554, "5.5.1")
            client.expect(f"RCPT TO:<user@{US}>", 250)

    def test_r1_to_r33_open_relay_probes(self):
        self.check("client.test")

    def test_r35_the_name_of_the_client_gives_no_right(self):
        for name in (US, "mx.gateway.test", OUR_IP, "localhost"):
            self.check(name)

    def test_r1_to_r32_senders_that_are_no_paths(self):
        client = self.client()
        for sender in BAD_SENDERS:
            for recipient in RECIPIENTS:
                self.assert_reply(client.command(f"MAIL FROM:{sender}"), 501, "5.1.7", sender)
                reply = client.command(f"RCPT TO:{recipient}")
                self.assert_reply(reply, 503, "5.5.1", recipient)

    def test_source_routes_lead_only_to_us(self):
        client = self.client()
        client.expect("MAIL FROM:<>", 250)
        for route in (f"@{EXT}", f"@{EXT},@{OUR_IP}", f"@{US}"):
            self.assert_reply(client.command(f"RCPT TO:<{route}:user@{US}>"), 250, "2.1.5", route)


class UserRightTest(DaemonTest):
    """R36: the right of a user to send anywhere."""

    users = (("user", "secret-of-the-user"),)
    settings = {
        "listeners": [listener("mx", tls=tls_settings(), limits=LIMITS,
                               auth={"users": "users.txt", "allow_plaintext": True})],
        "routes": [{"match": {"authenticated": True}, "action": {"discard": {}}},
                   {"match": {"domain": [US]}, "action": {"discard": {}}}],
    }

    def rcpt(self, client):
        client.expect("RSET", 250)
        client.expect(f"MAIL FROM:<s@{US}>", 250)
        reply = client.command(f"RCPT TO:<u@{EXT}>")
        client.expect("RSET", 250)
        return reply

    def test_r36_it_outlives_rset_and_ehlo_and_a_message(self):
        client = self.client()
        self.assert_reply(self.rcpt(client), 550, "5.7.1")
        self.assert_reply(client.auth_plain("user", "secret-of-the-user"), 235, "2.7.0")
        self.assert_reply(self.rcpt(client), 250, "2.1.5")
        client.expect("EHLO again.test", 250)
        self.assert_reply(self.rcpt(client), 250, "2.1.5")
        self.assert_reply(client.mail(f"s@{US}", [f"u@{EXT}"], b"Subject: x\r\n\r\n"), 250)
        self.assert_reply(self.rcpt(client), 250, "2.1.5")

    def test_r36_p13_starttls_drops_it(self):
        client = self.raw_client()
        client.greet("clear.test")
        self.assert_reply(client.auth_plain("user", "secret-of-the-user"), 235, "2.7.0")
        self.assert_reply(self.rcpt(client), 250, "2.1.5")
        client.starttls()
        for line in (f"MAIL FROM:<s@{US}>", "AUTH PLAIN"):  # the name is forgotten as well
            self.assert_reply(client.command(line), 503, "5.5.1")
        client.expect("EHLO secret.test", 250)
        self.assert_reply(self.rcpt(client), 550, "5.7.1")
        self.assert_reply(client.auth_plain("user", "secret-of-the-user"), 235, "2.7.0")
        self.assert_reply(self.rcpt(client), 250, "2.1.5")

    def test_r33_our_own_domain_gives_no_right(self):
        self.assert_reply(self.rcpt(self.client()), 550, "5.7.1")


class LocalPartTest(DaemonTest):
    settings = {"listener": {"limits": LIMITS}}

    def relayed(self, recipient):
        wait_until(lambda: self.sink.accepted(recipient), f"a message for {recipient}")
        message, = self.sink.accepted(recipient)
        return message

    def test_a4_quoted_strings_are_kept_byte_for_byte(self):
        locals_ = ('"a b"', '"a@b"', '"a\\"\\\\b"', '"a\\ b"', '"x@ext.test"', '"<"', '"a,b;c:d"', '".."',
                   '"\\@"', '"ab"')
        for local in locals_:
            client = self.client()
            client.start(f"{local}@client.test", [f"{local}@sink.test", f"{self.tag}@box.test"])
            client.expect("DATA", 354)
            client.send(b"Subject: x\r\n\r\n.\r\n")
            self.assert_reply(client.read_reply(), 250)
            message = self.relayed(f"{local}@sink.test")
            self.assertEqual(message.sender, f"{local}@client.test")
            self.assertEqual(message.recipients, [f"{local}@sink.test"])
        mails = self.gateway.wait_for_mail(f"{self.tag}@box.test", len(locals_))
        wanted = {f"Return-Path: <{local}@client.test>".encode() for local in locals_}
        self.assertEqual({mail.split(b"\r\n")[0] for mail in mails}, wanted)

    def rcpt(self, path):
        client = self.client()
        client.expect("MAIL FROM:<a@client.test>", 250)
        client.send(b"RCPT TO:" + path + b"\r\n")
        reply = client.read_reply()
        self.assert_goes_on(client)
        client.close()
        return reply

    def test_a5_to_a8_exact(self):
        for path in (b'<""@box.test>', b"<a@x_y.test>", b"<a@-x>", b"<a@x->", b"<a@box.test..>",
                     b"<u(x)@box.test>", b"<u@box.test(x)>", b"<>", b"< >", b"<<a@b>>", b"<a@b"):
            self.assert_reply(self.rcpt(path), 501, "5.1.3", path)

    def test_a9_the_longest_names(self):
        label = b"d" * 63
        longest = b".".join([label] * 3 + [b"e" * 61, b"x"])
        self.assertEqual(len(longest), 255)
        client = self.client()
        for local, domain, code in ((b"l" * 64, longest, 250), (b"l" * 64, longest + b"x", 501),
                                    (b"l" * 65, b"box.test", 501), (b"l", b"d" * 64 + b".test", 501),
                                    (b"l", label + b".test", 250), (b'"' + b"l" * 62 + b'"', b"x", 250),
                                    (b'"' + b"l" * 63 + b'"', b"x", 501)):
            client.expect("RSET", 250)
            status = "2.1.0" if code == 250 else "5.1.7"
            reply = client.command(b"MAIL FROM:<" + local + b"@" + domain + b">")
            self.assert_reply(reply, code, status, (local[:9], len(local), len(domain)))

    def test_a10_address_literals(self):
        for path in (b"<u@[127.0.0.1]>", b"<u@[IPv6:::1]>", b"<u@[0.0.0.0]>"):
            self.assert_reply(self.rcpt(path), 550, "5.7.1", path)
        for path in (b"<u@[1.2.3.4]:25>", b"<u@[box.test]>", b"<u@[::1]>", b"<u@[IPv6:127.0.0.1]>",
                     b"<u@[]>", b"<u@127.0.0.1:25>"):
            self.assert_reply(self.rcpt(path), 501, "5.1.3", path)

    def test_a11_text_is_only_text(self):
        locals_ = ("-oQ/x", "|cmd", "/file", "${run{id}}", "`id`", "#x", "$HOME", "~", "{}", "'x'", "*", "%s%n",
                   '"$(id)"', '";sh"', '"|cmd x"', '"../x"')
        for local in locals_:
            client = self.client()
            reply = client.mail("a@client.test", [f"{local}@sink.test"], b"Subject: x\r\n\r\n")
            self.assert_reply(reply, 250)
            self.assertEqual(self.relayed(f"{local}@sink.test").recipients, [f"{local}@sink.test"])
        for path in (b"<$(id)@sink.test>", b"<;sh@sink.test>", b"<a;b@sink.test>", b"<a b@sink.test>",
                     b"<../x@sink.test>", b"<a\\b@sink.test>"):
            self.assert_reply(self.rcpt(path), 501, "5.1.3", path)

    def test_a11_no_local_part_leaves_the_folder_of_its_domain(self):
        client = self.client()
        for local in ('"../../out"', '"/tmp/out"', '".."', '"."', "/etc/out", '"a/../../out"',
                      '"../box.test/out"', '"../out.test/x"'):
            client.start("a@client.test", [f"{local}@box.test"])
            client.expect("DATA", 354)
            client.send(b"Subject: x\r\n\r\n.\r\n")
            self.assert_reply(client.read_reply(), 250)
        self.gateway.wait_for_empty_queue()
        folder = self.gateway.folder
        of_mail = {path.name for path in (folder / "mail").iterdir()}
        self.assertLessEqual(of_mail, {"box.test"})
        self.assertFalse((folder / "mail" / "new").exists() or (folder / "mail" / "box.test" / "new").exists())
        found = [path for path in folder.rglob("*out*") if folder / "mail" / "box.test" not in path.parents]
        self.assertEqual([path.name for path in found], ["stdout.log"])

    def test_a12_line_ends_in_a_local_part(self):
        for path, code, status in (
            (b'<"a\\\rb"@box.test>', 500, "5.5.2"), (b'<"a\\\nb"@box.test>', 500, "5.5.2"),
            (b'<"a\rb"@box.test>', 500, "5.5.2"), (b"<a\nb@box.test>", 500, "5.5.2"),
            (b'<"a\\\0b"@box.test>', 501, "5.5.2"), (b'<"a\x01b"@box.test>', 501, "5.1.3"),
            (b'<"a\\\x1bb"@box.test>', 501, "5.1.3"), (b'<"a\x7fb"@box.test>', 501, "5.1.3"),
            (b'<"a\tb"@box.test>', 501, "5.1.3"),
        ):
            self.assert_reply(self.rcpt(path), code, status, path)
        self.gateway.log()  # reads every line: none holds a control byte

    def test_a13_a_local_part_that_is_endless(self):
        for count in (4096, 8192, 60_000):
            self.assert_reply(self.rcpt(b"<" + b"l" * count + b"@box.test>"), 500, "5.5.2", count)

    def test_a13_a_mebibyte(self):
        """C3 comes first: a line of more than 64 KiB ends the session."""
        client = self.client()
        client.expect("MAIL FROM:<a@client.test>", 250)
        try:
            client.send(b"RCPT TO:<" + b"l" * (1 << 20) + b"@box.test>\r\n")
        except OSError:
            pass  # closed while we were sending
        try:
            replies = client.read_to_end()
        except ConnectionResetError:
            return  # it had not read all that we sent
        self.assertEqual([(reply.code, reply.status) for reply in replies], [(421, "4.5.2")])


RelayUnderTls = under_tls(RelayTest)
LocalPartUnderTls = under_tls(LocalPartTest)
