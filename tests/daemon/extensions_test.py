"""What EHLO offers and what MAIL and RCPT may ask for: each parameter's good and bad forms with the
exact reply, and what is kept of them in the queue. (AUTH itself, BDAT, STARTTLS and the relaying of
all this have tests of their own.)"""

import unittest

from tests.support.daemon_case import DaemonTest, under_tls
from tests.support.gateway import Gateway, listener, settings, tls_settings, wait_until

PASSWORD = "correct horse"
ALICE = "alice@client.test"
USERS = [(ALICE, PASSWORD)]
AUTH = {"users": "users.txt", "mechanisms": ["PLAIN"]}
PLAIN_AUTH = {**AUTH, "allow_plaintext": True}
DEAD_HOST = "127.0.0.1:1"  # nobody listens there: mail for keep.test stays in the queue

TOO_LONG = "x" * 101
SIZE_LIMIT = 1024 * 1024

# What follows MAIL FROM:<a@client.test>, the code and the status.
MAIL_CASES = [
    ("SIZE=1000", 250, "2.1.0"),
    ("size=0", 250, "2.1.0"),
    (f"SIZE={SIZE_LIMIT}", 250, "2.1.0"),
    (f"SIZE={SIZE_LIMIT + 1}", 552, "5.3.4"),
    ("SIZE=18446744073709551616", 552, "5.3.4"),
    (f"SIZE={10**20}", 552, "5.3.4"),
    ("SIZE=abc", 501, "5.5.4"),
    ("SIZE=-1", 501, "5.5.4"),
    ("SIZE=", 501, "5.5.4"),
    ("SIZE", 501, "5.5.4"),
    ("SIZE=1 SIZE=1", 501, "5.5.4"),
    ("BODY=7BIT", 250, "2.1.0"),
    ("BODY=8BITMIME", 250, "2.1.0"),
    ("body=binarymime", 250, "2.1.0"),
    ("BODY=FOO", 501, "5.5.4"),
    ("BODY", 501, "5.5.4"),
    ("BODY=7BIT BODY=8BITMIME", 501, "5.5.4"),
    ("SMTPUTF8", 250, "2.1.0"),
    ("smtputf8 BODY=8BITMIME", 250, "2.1.0"),
    ("SMTPUTF8=1", 501, "5.5.4"),
    ("SMTPUTF8 SMTPUTF8", 501, "5.5.4"),
    ("RET=FULL", 250, "2.1.0"),
    ("ret=hdrs", 250, "2.1.0"),
    ("RET=BOTH", 501, "5.5.4"),
    ("RET", 501, "5.5.4"),
    ("RET=FULL RET=HDRS", 501, "5.5.4"),
    ("ENVID=QQ+2B314159", 250, "2.1.0"),
    (f"ENVID={TOO_LONG[1:]}", 250, "2.1.0"),
    (f"ENVID={TOO_LONG}", 501, "5.5.4"),
    ("ENVID=", 501, "5.5.4"),
    ("ENVID=a+2b", 501, "5.5.4"),
    ("ENVID=a+0D+0Ab", 501, "5.5.4"),
    ("ENVID=ü", 501, "5.5.4"),
    ("ENVID=a ENVID=a", 501, "5.5.4"),
    ("NOTIFY=NEVER", 555, "5.5.4"),
    ("ORCPT=rfc822;a@b", 555, "5.5.4"),
    ("FOO", 555, "5.5.4"),
    ("FOO=bar SIZE=abc", 555, "5.5.4"),
    ("=", 501, "5.5.4"),
    ("SIZE=1 <b@c>", 501, "5.5.4"),
    ("RET=FULL ENVID=a SIZE=1 BODY=8BITMIME SMTPUTF8", 250, "2.1.0"),
]
MAIL_CASES_WITH_AUTH = [
    ("AUTH=<>", 250, "2.1.0"),
    ("AUTH=alice+2Bx@client.test", 250, "2.1.0"),
    ("AUTH", 501, "5.5.4"),
    ("AUTH=a+2", 501, "5.5.4"),
    ("AUTH=a+0A", 501, "5.5.4"),
    ("AUTH=<> AUTH=<>", 501, "5.5.4"),
]
MAIL_CASES_UNDER_TLS = [
    ("REQUIRETLS", 250, "2.1.0"),
    ("requiretls SIZE=1", 250, "2.1.0"),
    ("REQUIRETLS=1", 501, "5.5.4"),
    ("REQUIRETLS REQUIRETLS", 501, "5.5.4"),
]
# What follows RCPT TO:<a@void.test>.
RCPT_CASES = [
    ("NOTIFY=NEVER", 250, "2.1.5"),
    ("notify=Success,FAILURE,delay", 250, "2.1.5"),
    ("NOTIFY=NEVER,FAILURE", 501, "5.5.4"),
    ("NOTIFY=FAILURE,NEVER", 501, "5.5.4"),
    ("NOTIFY=DELAY,DELAY", 501, "5.5.4"),
    ("NOTIFY=DELAY,", 501, "5.5.4"),
    ("NOTIFY=FOO", 501, "5.5.4"),
    ("NOTIFY=", 501, "5.5.4"),
    ("NOTIFY", 501, "5.5.4"),
    ("NOTIFY=DELAY NOTIFY=DELAY", 501, "5.5.4"),
    ("ORCPT=rfc822;a+2Bb@c.test", 250, "2.1.5"),
    ("ORCPT=utf-8;\\x{FC}@c.test", 250, "2.1.5"),
    ("ORCPT=rfc822;" + "x" * 493, 250, "2.1.5"),
    ("ORCPT=rfc822;" + "x" * 494, 501, "5.5.4"),
    ("ORCPT=rfc822;a+zz", 501, "5.5.4"),
    ("ORCPT=rfc822;a+0D+0Ab", 501, "5.5.4"),
    ("ORCPT=rfc822;ü", 501, "5.5.4"),
    ("ORCPT=a@b.test", 501, "5.5.4"),
    ("ORCPT=;a", 501, "5.5.4"),
    ("ORCPT=rfc822;", 501, "5.5.4"),
    ("ORCPT=rfc822;a ORCPT=rfc822;a", 501, "5.5.4"),
    ("SIZE=1", 555, "5.5.4"),
    ("RET=FULL", 555, "5.5.4"),
    ("FOO=bar", 555, "5.5.4"),
    ("=", 501, "5.5.4"),
    ("NOTIFY=DELAY ORCPT=rfc822;a", 250, "2.1.5"),
]
# The same after MAIL with SMTPUTF8.
UTF8_RCPT_CASES = [
    ("ORCPT=utf-8;jürgen@bücher.test NOTIFY=DELAY", 250, "2.1.5"),
    ("ORCPT=utf-8;\\x{FC}@c.test", 250, "2.1.5"),
    ("ORCPT=utf-8;\\x{D800}", 501, "5.5.4"),
    ("ORCPT=utf-8;a+2Bb", 501, "5.5.4"),
    ("ORCPT=utf-8;\u0085", 501, "5.5.4"),
    ("ORCPT=rfc822;jürgen", 501, "5.5.4"),
    ("NOTIFY=ü", 501, "5.5.4"),
]


def limits(**changes):
    return {"message_size": f"{SIZE_LIMIT}B", "errors": 1000, "junk_commands": 10000, **changes}


class ParametersTest(DaemonTest):
    settings = {"listener": {"auth": PLAIN_AUTH, "limits": limits()}}
    users = USERS

    def check(self, client, command, case, *more):
        parameter, code, status = case
        client.expect("RSET", 250)
        for line in more:
            client.expect(line, 250)
        self.assert_reply(client.command(f"{command} {parameter}"), code, status, parameter)

    def test_mail(self):
        client = self.client()
        cases = MAIL_CASES + MAIL_CASES_WITH_AUTH
        cases += MAIL_CASES_UNDER_TLS if self.tls else [("REQUIRETLS", 555, "5.5.4")]
        for case in cases:
            self.check(client, "MAIL FROM:<a@client.test>", case)
            self.check(client, "MAIL FROM:<>", case)
        self.assert_goes_on(client)

    def test_rcpt(self):
        client = self.client()
        for case in RCPT_CASES:
            self.check(client, "RCPT TO:<a@void.test>", case, "MAIL FROM:<a@client.test>")
        for case in UTF8_RCPT_CASES:
            self.check(client, "RCPT TO:<a@void.test>", case, "MAIL FROM:<a@client.test> SMTPUTF8")
        self.assert_goes_on(client)

    def test_a_refused_command_changes_nothing(self):
        client = self.client()
        client.expect("MAIL FROM:<a@client.test> RET=BOTH", 501)
        client.expect("RCPT TO:<a@void.test>", 503, "5.5.1")
        client.expect("MAIL FROM:<a@client.test>", 250)
        client.expect("RCPT TO:<a@void.test> NOTIFY=FOO", 501)
        client.expect("DATA", 554, "5.5.1")
        client.expect("RCPT TO:<a@void.test> NOTIFY=NEVER", 250)
        client.expect("DATA", 354)
        client.send(b"x\r\n.\r\n")
        self.assert_reply(client.read_reply(), 250, "2.0.0")

    def test_after_helo_there_are_no_parameters(self):
        client = self.raw_client()
        client.greet(verb="HELO")
        for parameter, _, _ in MAIL_CASES + MAIL_CASES_WITH_AUTH + MAIL_CASES_UNDER_TLS:
            # What is no parameter at all is 501 here too.
            if parameter.split("=")[0].isalnum() and parameter[-1] != "=" and "ü" not in parameter:
                reply = client.command(f"MAIL FROM:<a@client.test> {parameter}")
                self.assert_reply(reply, 555, "5.5.4", parameter)
        client.expect("MAIL FROM:<a@client.test>", 250)
        client.expect("RCPT TO:<a@void.test> NOTIFY=NEVER", 555, "5.5.4")
        client.expect("RCPT TO:<a@void.test> ORCPT=rfc822;a", 555, "5.5.4")

    def test_lines_cut_at_every_byte(self):
        client = self.client()
        mail = "MAIL FROM:<jürgen@bücher.test> SMTPUTF8 BODY=8BITMIME RET=HDRS ENVID=a+2Bb SIZE=9\r\n"
        rcpt = "RCPT TO:<ü@void.test> NOTIFY=SUCCESS,DELAY ORCPT=utf-8;ü\\x{FC}@void.test\r\n"
        for line, before in ((mail.encode(), b""), (rcpt.encode(), mail.encode())):
            for cut in range(1, len(line)):
                client.send(b"RSET\r\n" + before)
                self.assertEqual({reply.code for reply in client.read_replies(2 if before else 1)}, {250})
                client.send_split(line, cut, gap=0.003)
                self.assert_reply(client.read_reply(), 250, None, (line, cut))

    def test_a_group_of_commands(self):
        client = self.client()
        group = ["MAIL FROM:<ä@client.test> SMTPUTF8 RET=FULL ENVID=x", "RCPT TO:<ö@void.test> NOTIFY=NEVER",
                 "RCPT TO:<b@void.test> NOTIFY=NEVER,DELAY", "RCPT TO:<c@void.test> ORCPT=rfc822;c", "DATA"]
        client.send("".join(line + "\r\n" for line in group).encode())
        self.assertEqual([reply.code for reply in client.read_replies(5)], [250, 250, 501, 250, 354])
        client.send(b"x\r\n.\r\n")
        self.assert_reply(client.read_reply(), 250)


class ParametersUnderTls(ParametersTest):
    settings = {"listener": {"auth": AUTH, "limits": limits()}}
    tls = "implicit"


class OfferTest(DaemonTest):
    """EHLO names what is configured and works, no more."""

    ALWAYS = ["PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES", "CHUNKING", "BINARYMIME", "SMTPUTF8", "DSN"]
    settings = {"listeners": [
        listener("mx"),
        listener("tls", tls=tls_settings(), auth=AUTH, limits={"messages": 5, "recipients": 7,
                                                               "recipient_domains": 3}),
        listener("implicit", tls=tls_settings(mode="implicit")),
        listener("xclient", xclient={"from": ["127.0.0.0/8"]}),
    ]}
    users = USERS

    def offer(self, client):
        return client.command("EHLO client.test").lines[1:]

    def test_plain(self):
        lines = self.offer(self.client(listener="mx"))
        self.assertCountEqual(lines, [*self.ALWAYS, "LIMITS RCPTMAX=1000", "SIZE 52428800"])

    def test_starttls(self):
        client = self.client(listener="tls")
        more = ["LIMITS MAILMAX=5 RCPTMAX=7 RCPTDOMAINMAX=3", "SIZE 52428800"]
        self.assertCountEqual(self.offer(client), [*self.ALWAYS, *more, "STARTTLS"])
        client.starttls()
        self.assertCountEqual(self.offer(client), [*self.ALWAYS, *more, "REQUIRETLS", "AUTH PLAIN"])
        client.auth_plain(ALICE, PASSWORD)
        lines = self.offer(client)
        self.assertLessEqual({*self.ALWAYS, *more, "REQUIRETLS"}, set(lines))

    def test_implicit_tls(self):
        lines = self.offer(self.client(listener="implicit", tls="implicit"))
        self.assertCountEqual(lines, [*self.ALWAYS, "LIMITS RCPTMAX=1000", "SIZE 52428800", "REQUIRETLS"])

    def test_helo_offers_nothing(self):
        for name in ("mx", "tls"):
            client = self.raw_client(listener=name)
            client.read_reply()
            self.assertEqual(client.expect("HELO client.test", 250).lines, ["mx.gateway.test"])

    def test_auth_of_mail_needs_the_offer(self):
        self.assert_reply(self.client(listener="mx").command("MAIL FROM:<a@b.test> AUTH=<>"), 555, "5.5.4")
        client = self.client(listener="tls")
        self.assert_reply(client.command("MAIL FROM:<a@b.test> AUTH=<>"), 555, "5.5.4")
        self.assert_reply(client.command("MAIL FROM:<a@b.test> REQUIRETLS"), 555, "5.5.4")
        client.starttls()
        client.expect("EHLO client.test", 250)
        self.assert_reply(client.command("MAIL FROM:<a@b.test> AUTH=<> REQUIRETLS"), 250)
        client.expect("RSET", 250)
        client.auth_plain(ALICE, PASSWORD)
        self.assert_reply(client.command("MAIL FROM:<a@b.test> AUTH=<>"), 250)


class StoredTest(unittest.TestCase):
    """What was asked for is in the queue, and is there after a crash."""

    @classmethod
    def setUpClass(cls):
        config = settings(listeners=[
            listener("mx", auth=PLAIN_AUTH, tls=tls_settings())],
            delivery={"retry": {"first": "1h", "factor": 2, "max": "2h", "jitter": "0%"}})
        config["routes"].insert(0, {"match": {"domain": ["keep.test", "xn--bcher-kva.test"]},
                                    "action": {"smtp": {"hosts": [DEAD_HOST]}}})
        cls.gateway = Gateway(config)
        cls.addClassCleanup(cls.gateway.clean_up)
        cls.gateway.write_users(USERS)
        cls.gateway.start()

    @classmethod
    def tearDownClass(cls):
        cls.gateway.stop()

    def store(self, client, mail, rcpts, content=b"x\r\n"):
        """Sends a message and returns how the queue shows it."""
        for line in (mail, *rcpts):
            client.expect(line, 250)
        client.expect("DATA", 354)
        client.send(content + b".\r\n")
        reply = client.read_reply()
        self.assertEqual(reply.code, 250, reply)
        return self.shown(reply.text.split()[-1])

    def shown(self, message_id):
        found = [message for message in self.gateway.queue() if message["id"] == message_id]
        self.assertEqual(len(found), 1, message_id)
        return found[0]

    def assert_fields(self, shown, **want):
        self.assertEqual({name: shown[name] for name in want}, want)

    def test_nothing_asked_for(self):
        with self.gateway.client() as client:
            shown = self.store(client, "MAIL FROM:<a@client.test>", ["RCPT TO:<a@keep.test>"])
        self.assert_fields(shown, sender="a@client.test", user=None, envid=None, ret=None, body="7bit",
                           form="data", smtputf8=False, requiretls=False)
        recipient = shown["recipients"][0]
        self.assertEqual((recipient["notify"], recipient["orcpt"]), (None, None))

    def test_dsn(self):
        orcpt = "rfc822;" + "y" * 493
        with self.gateway.client() as client:
            shown = self.store(client, "MAIL FROM:<> RET=HDRS ENVID=QQ+2B31+3D ", [
                "RCPT TO:<a@keep.test> NOTIFY=NEVER",
                "RCPT TO:<b@keep.test> NOTIFY=delay,SUCCESS,FAILURE ORCPT=rfc822;b+2Bx@old.test",
                f"RCPT TO:<c@keep.test> ORCPT={orcpt}",
                "RCPT TO:<a@KEEP.test> NOTIFY=SUCCESS",  # the first of the two stays
            ])
        self.assert_fields(shown, sender="", ret="headers", envid="QQ+2B31+3D")
        self.assertEqual([(r["address"], r["notify"], r["orcpt"]) for r in shown["recipients"]], [
            ("a@keep.test", ["never"], None),
            ("b@keep.test", ["success", "failure", "delay"], "rfc822;b+2Bx@old.test"),
            ("c@keep.test", None, orcpt),
        ])

    def test_utf8(self):
        with self.gateway.client() as client:
            shown = self.store(client, "MAIL FROM:<jürgen@bücher.test> SMTPUTF8 BODY=8BITMIME RET=FULL", [
                "RCPT TO:<ü@bücher.test> ORCPT=utf-8;ü@alt.test",
                "RCPT TO:<ü@xn--bcher-kva.test>",  # the same mailbox
                "RCPT TO:<u\u0308@Bücher.test>",   # another one
                "RCPT TO:<a@keep.test>",
            ], "Subject: ü\r\n\r\nü\r\n".encode())
        self.assert_fields(shown, sender="jürgen@bücher.test", smtputf8=True, body="8bit", ret="full")
        self.assertEqual([(r["address"], r["orcpt"]) for r in shown["recipients"]], [
            ("ü@bücher.test", "utf-8;ü@alt.test"), ("u\u0308@Bücher.test", None), ("a@keep.test", None)])

    def test_body_and_form(self):
        with self.gateway.client() as client:
            for mail, content, body in (
                ("BODY=8BITMIME", b"x\r\n", "7bit"),  # what it is counts
                ("BODY=8BITMIME", b"\xff\r\n", "8bit"),
                ("BODY=7BIT", b"\xff\r\n", "8bit"),
                ("BODY=BINARYMIME", b"a\0b", "binary"),
                ("", b"plain\r\n", "7bit"),
            ):
                client.expect(f"MAIL FROM:<a@client.test> {mail}", 250)
                client.expect("RCPT TO:<a@keep.test>", 250)
                reply = client.bdat(content, is_last=True)
                self.assertEqual(reply.code, 250, (mail, reply))
                self.assert_fields(self.shown(reply.text.split()[-1]), body=body, form="raw")

    def test_user_and_require_tls(self):
        with self.gateway.client(tls="starttls") as client:
            client.auth_plain(ALICE, PASSWORD)
            # With the duty the route refuses it at once, for it has no TLS yet: that is kept as well.
            shown = self.store(client, "MAIL FROM:<a@client.test> REQUIRETLS AUTH=alice",
                               ["RCPT TO:<a@keep.test>"])
        self.assert_fields(shown, user=ALICE, requiretls=True)

    def test_all_of_it_survives_a_crash(self):
        with self.gateway.client(tls="starttls") as client:
            client.auth_plain(ALICE, PASSWORD)
            shown = self.store(client, "MAIL FROM:<ä@client.test> SMTPUTF8 RET=FULL ENVID=crash+20id",
                               ["RCPT TO:<ö@keep.test> NOTIFY=DELAY ORCPT=utf-8;ö\\x{F6}@x.test"])
        wait_until(lambda: self.shown(shown["id"])["recipients"][0]["attempts"] == 1, "one attempt")
        before = self.shown(shown["id"])
        self.gateway.kill()
        self.gateway.start()
        after = self.shown(shown["id"])
        self.assertEqual(before, after)
        self.assert_fields(after, user=ALICE, smtputf8=True, ret="full", envid="crash+20id")
        self.assertEqual(after["recipients"][0]["orcpt"], "utf-8;ö\\x{F6}@x.test")


class LimitsOfRfc9422Test(DaemonTest):
    settings = {"listener": {"limits": {"messages": 2, "recipients": 5, "recipient_domains": 2}}}

    def test_recipient_domains(self):
        client = self.client()
        client.expect("MAIL FROM:<a@client.test>", 250)
        client.expect("RCPT TO:<a@void.test>", 250)
        client.expect("RCPT TO:<a@refused.test>", 550, "5.1.1")  # none that counts
        client.expect("RCPT TO:<a@box.test>", 250)
        reply = client.expect("RCPT TO:<a@sink.test>", 452, "4.5.3")
        self.assertIn("domains", reply.text)
        client.expect("RCPT TO:<b@VOID.test.>", 250)
        client.expect("RCPT TO:<a@elsewhere.test>", 550, "5.7.1")
        client.expect("RCPT TO:<a@void.test>", 250)  # again
        client.expect("RSET", 250)
        client.expect("MAIL FROM:<a@client.test>", 250)
        client.expect("RCPT TO:<a@sink.test>", 250)

    def test_recipients(self):
        client = self.client()
        client.expect("MAIL FROM:<a@client.test>", 250)
        for index in range(5):
            client.expect(f"RCPT TO:<{index}@void.test>", 250)
        client.expect("RCPT TO:<5@void.test>", 452, "4.5.3")

    def test_messages(self):
        client = self.client()
        for _ in range(2):
            self.assert_reply(client.mail("a@client.test", ["a@void.test"], b"x\r\n"), 250)
        client.send(b"MAIL FROM:<a@client.test>\r\n")
        self.assert_closed(client, [421])


class WhoMaySendTest(DaemonTest):
    """MAIL where AUTH is required, senders that a user owns, and routes for users only."""

    users = USERS
    settings = {"listeners": [
        listener("mx"),
        listener("open", auth=PLAIN_AUTH),
        listener("submission", service="submission", auth=AUTH, tls=tls_settings()),
        listener("plain", service="submission", auth=PLAIN_AUTH, tls=tls_settings()),
        listener("own", service="submission", auth={**PLAIN_AUTH, "senders": "own"}),
    ]}

    @classmethod
    def setUpClass(cls):
        cls.settings = dict(cls.settings)
        routes = settings()["routes"]
        routes.append({"match": {"domain": ["inside.test"], "authenticated": True},
                       "action": {"discard": {}}})
        routes.append({"match": {"recipient": ["jürgen@bücher.test"]}, "action": {"discard": {}}})
        cls.settings["routes"] = routes
        super().setUpClass()

    def user(self, name, **options):
        client = self.client(listener=name, **options)
        self.assert_reply(client.auth_plain(ALICE, PASSWORD), 235, "2.7.0")
        return client

    def test_submission_needs_tls_and_then_auth(self):
        client = self.client(listener="submission")
        reply = client.expect("MAIL FROM:<a@client.test>", 530, "5.7.0")
        self.assertIn("STARTTLS", reply.text)
        client.expect("MAIL FROM:nonsense", 530, "5.7.0")
        client.expect("RCPT TO:<a@void.test>", 503, "5.5.1")
        client.starttls()
        client.expect("EHLO client.test", 250)
        reply = client.expect("MAIL FROM:<a@client.test>", 530, "5.7.0")
        self.assertNotIn("STARTTLS", reply.text)
        client.auth_plain(ALICE, PASSWORD)
        self.assert_reply(client.mail("a@client.test", ["a@void.test"], b"x\r\n"), 250)

    def test_submission_without_tls_where_that_is_allowed(self):
        client = self.client(listener="plain")
        reply = client.expect("MAIL FROM:<a@client.test>", 530, "5.7.0")
        self.assertNotIn("STARTTLS", reply.text)
        client.auth_plain(ALICE, PASSWORD)
        client.expect("MAIL FROM:<a@client.test>", 250)

    def test_own_senders(self):
        client = self.user("own")
        for sender in (ALICE, "Alice@CLIENT.test", ""):
            client.expect(f"MAIL FROM:<{sender}>", 250, "2.1.0")
            client.expect("RSET", 250)
        for sender in ("bob@client.test", "alice@client.test.evil.test", "alice@sub.client.test",
                       '"alice@client.test"@evil.test'):
            client.expect(f"MAIL FROM:<{sender}>", 553, "5.7.1")
        client.expect("RCPT TO:<a@void.test>", 503, "5.5.1")
        client.expect("MAIL FROM:<alice@client.test> RET=BOTH", 501, "5.5.4")

    def test_routes_of_users(self):
        for name in ("mx", "open"):
            client = self.client(listener=name)
            client.expect("MAIL FROM:<a@client.test>", 250)
            client.expect("RCPT TO:<a@inside.test>", 550, "5.7.1")
        client = self.user("open")
        self.assert_reply(client.mail("a@client.test", ["a@inside.test"], b"x\r\n"), 250)
        self.gateway.wait_for_empty_queue()  # it took the same route when it was delivered
        self.assertEqual(self.gateway.metric("postern_queue_messages", state="failed"), 0)

    def test_recipients_in_utf8(self):
        client = self.client(listener="mx")
        client.expect("MAIL FROM:<a@client.test> SMTPUTF8", 250)
        client.expect("RCPT TO:<jürgen@bücher.test>", 250)
        client.expect("RCPT TO:<jürgen@xn--bcher-kva.test>", 250)
        client.expect("RCPT TO:<jürgen@BÜCHER.test>", 501, "5.5.2")  # no U-label
        client.expect("RCPT TO:<JÜRGEN@bücher.test>", 550, "5.7.1")
        client.expect("RCPT TO:<juergen@bücher.test>", 550, "5.7.1")


class ChunkedTest(DaemonTest):
    def test_once_bdat_began_the_envelope_is_closed(self):
        client = self.client()
        client.start("a@client.test", ["a@void.test"])
        self.assert_reply(client.bdat(b"x\r\n"), 250)
        client.expect("MAIL FROM:<a@client.test>", 503, "5.5.1")
        client.expect("RCPT TO:<b@void.test>", 503, "5.5.1")
        self.assert_reply(client.bdat(b"", is_last=True), 250)
        client.expect("MAIL FROM:<a@client.test>", 250)
        client.expect("MAIL FROM:<a@client.test>", 503, "5.5.1")


ChunkedUnderTls = under_tls(ChunkedTest)
