"""Accepting when the process may open no more (D9), and through a storm of connections that are gone
at once (D7)."""

import os
import resource

from tests.support.daemon_case import DaemonTest, under_tls
from tests.support.gateway import wait_until


class DescriptorsTest(DaemonTest):
    """Accepted sockets are in the ring's own table: the limit of the process is for files alone. (A
    table that is full pauses the listener: unit/ring/listener_test.)"""

    def test_d9_no_descriptors_are_left(self):
        process = self.gateway.process.pid
        inside = self.client()
        inside.start_data("a@client.test", [f"{self.tag}@box.test"])
        soft, hard = resource.prlimit(process, resource.RLIMIT_NOFILE)
        resource.prlimit(process, resource.RLIMIT_NOFILE, (3, hard))
        try:
            spent = self.processor_seconds(process)
            others = [self.client() for _ in range(30)]
            self.assertTrue(inside.is_silent(2.0))
            self.assertLess(self.processor_seconds(process) - spent, 1.0)
            inside.send(b"Subject: inside\r\n\r\n.\r\n")
            self.assert_reply(inside.read_reply(), 250, "2.0.0")
            for client in others:
                self.assert_goes_on(client)
        finally:
            resource.prlimit(process, resource.RLIMIT_NOFILE, (soft, hard))
        self.gateway.wait_for_mail(f"{self.tag}@box.test")

    @staticmethod
    def processor_seconds(process):
        with open(f"/proc/{process}/stat", encoding="ascii") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class StormTest(DaemonTest):
    settings = {"listener": {"limits": {"connections": 1000}}}

    def test_d7_connections_that_are_gone_before_they_are_accepted(self):
        canary = self.client()
        for count in range(1500):
            client = self.raw_client(tls=None)
            if count % 3 == 0:
                client.close()
            else:
                client.reset()
            if count % 100 == 0:
                self.assert_goes_on(canary)
        self.assert_goes_on(canary)
        wait_until(lambda: self.gateway.metric("postern_smtp_connections") == 1, "only one to be left")
        self.assert_reply(self.client().mail("a@client.test", ["x@void.test"], b"x\r\n"), 250)


DescriptorsUnderTls = under_tls(DescriptorsTest)
StormUnderTls = under_tls(StormTest)
