"""The frame of a test class that shares one gateway and one next hop.

Tests of a class run one after another against the same daemon, so each uses addresses of its own
(self.tag). After each test the daemon must live and have written no report; after the last it must
stop with status 0."""

import unittest

from tests.support.gateway import Gateway, merged, settings, tls_settings
from tests.support.sink_server import Sink


class DaemonTest(unittest.TestCase):
    settings = {}  # changes over tests.support.gateway.settings()
    sink_replies = {}
    tls = None  # "implicit": all clients of the class talk under TLS; see under_tls()
    users = ()  # (user, password) or (user, password, options of passwd...): in the file users.txt

    @classmethod
    def setUpClass(cls):
        cls.sink = Sink(cls.sink_replies)
        cls.addClassCleanup(cls.sink.close)
        changes = cls.settings
        if cls.tls is not None:
            changes = merged(changes, {"listener": {"tls": tls_settings(mode=cls.tls)}})
        cls.gateway = Gateway(settings(sink_address=cls.sink.address, **changes))
        cls.addClassCleanup(cls.gateway.clean_up)
        cls.gateway.write_users(cls.users)
        cls.gateway.start()

    @classmethod
    def tearDownClass(cls):
        cls.gateway.stop()

    def setUp(self):
        self.tag = self.id().rpartition(".")[2].removeprefix("test_").replace("_", "-")[:60]

    def tearDown(self):
        self.gateway.check_is_alive()

    def client(self, **options):
        client = self.gateway.client(**{"tls": self.tls, **options})
        self.addCleanup(client.close)
        return client

    def raw_client(self, **options):
        client = self.gateway.raw_client(**{"tls": self.tls, **options})
        self.addCleanup(client.close)
        return client

    def assert_reply(self, reply, code, status=None, what=""):
        self.assertEqual(reply.code, code, f"{what}: {reply}")
        if status is not None:
            self.assertEqual(reply.status, status, f"{what}: {reply}")

    def assert_goes_on(self, client):
        """The session takes commands, and no reply is left over from what came before."""
        self.assert_reply(client.command("NOOP"), 250)
        self.assertTrue(client.is_silent(0.05), "a reply that nothing asked for")

    def assert_closed(self, client, codes):
        """The server's last replies, and then an orderly end."""
        replies = client.read_to_end()
        self.assertEqual([reply.code for reply in replies], list(codes), replies)


def under_tls(case):
    """The same tests, all of them over TLS from the first byte. A module that has

        PipeliningUnderTls = under_tls(PipeliningTest)

    runs both."""
    name = case.__name__.removesuffix("Test") + "UnderTls"
    return type(name, (case,), {"tls": "implicit", "__module__": case.__module__,
                                "__doc__": f"{case.__name__} over TLS."})
