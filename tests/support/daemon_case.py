"""The frame of a test class that shares one gateway and one next hop.

Tests of a class run one after another against the same daemon, so each uses addresses of its own
(self.tag). After each test the daemon must live and have written no report; after the last it must
stop with status 0."""

import unittest

from tests.support.gateway import Gateway, settings
from tests.support.sink_server import Sink


class DaemonTest(unittest.TestCase):
    settings = {}  # changes over tests.support.gateway.settings()
    sink_replies = {}

    @classmethod
    def setUpClass(cls):
        cls.sink = Sink(cls.sink_replies)
        cls.addClassCleanup(cls.sink.stop)
        cls.gateway = Gateway(settings(sink_address=cls.sink.address, **cls.settings))
        cls.addClassCleanup(cls.gateway.clean_up)
        cls.gateway.start()

    @classmethod
    def tearDownClass(cls):
        cls.gateway.stop()

    def setUp(self):
        self.tag = self.id().rpartition(".")[2].removeprefix("test_").replace("_", "-")[:60]

    def tearDown(self):
        self.gateway.check_is_alive()

    def client(self, **options):
        client = self.gateway.client(**options)
        self.addCleanup(client.close)
        return client

    def raw_client(self, **options):
        client = self.gateway.raw_client(**options)
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
