"""`verify_sender_domain`: MAIL waits for the DNS (hostile.md N1, N2, N4, N15, D26)."""

import socket
import unittest

from tests.support.dns_server import DnsServer, mx
from tests.support.gateway import Gateway, settings, wait_until

MAIL = b"Subject: x\r\n\r\nx\r\n"


class SenderDomainTest(unittest.TestCase):
    def setUp(self):
        self.dns = DnsServer()
        self.addCleanup(self.dns.close)
        self.dns.add(mx("good.test", 10, "mx.good.test"), mx("null.test", 0, "."),
                     mx("nowhere.test", 10, "mx.nowhere.test"))
        self.dns.host("mx.good.test", "127.0.0.2")  # where mail must not go is no question here
        self.dns.host("implicit.test", "192.0.2.1")

    def start(self, **listener):
        self.gateway = Gateway(settings(
            listener={"verify_sender_domain": True, **listener},
            resolver={"servers": [self.dns.address], "timeout": "300ms", "tries": 1},
            node={"hostname": "mx.gateway.test", "cores": 1}))
        self.addCleanup(self.gateway.clean_up)
        self.gateway.start()

    def check(self, sender, code, status):
        with self.gateway.client() as client:
            reply = client.command(f"MAIL FROM:<{sender}>")
            self.assertEqual((reply.code, reply.status), (code, status), reply)
            # The session goes on, and nothing is left of the refused transaction.
            again = client.command("MAIL FROM:<a@good.test>")
            self.assertEqual(again.code, 250 if code != 250 else 503, again)

    def test_each_answer_of_the_dns(self):
        self.start()
        self.check("a@good.test", 250, "2.1.0")
        self.check("a@IMPLICIT.test", 250, "2.1.0")
        self.check("a@nosuch.test", 550, "5.1.8")
        self.check("a@nowhere.test", 550, "5.1.8")
        self.check("a@null.test", 550, "5.7.27")
        self.check("", 250, "2.1.0")
        self.check("a@[192.0.2.9]", 250, "2.1.0")
        # The second MAIL of a transaction is refused as well.
        wait_until(lambda: len(self.gateway.log("rejected")) >= 7, "the log")
        refused = [line["sender"] for line in self.gateway.log("rejected") if line["reply"].startswith("550")]
        self.assertEqual(refused, ["a@nosuch.test", "a@nowhere.test", "a@null.test"])

    def test_pipelined_commands_wait(self):
        self.start()
        with self.gateway.client() as client:
            client.send(b"MAIL FROM:<a@nosuch.test>\r\nRCPT TO:<b@box.test>\r\nMAIL FROM:<a@good.test>\r\n"
                        b"RCPT TO:<b@box.test>\r\nDATA\r\n")
            self.assertEqual([client.read_reply().code for _ in range(5)], [550, 503, 250, 250, 354])
            client.send(MAIL + b".\r\n")
            self.assertEqual(client.read_reply().code, 250)
        self.gateway.wait_for_mail("b@box.test")

    def test_a_name_server_that_is_down_asks_for_another_try(self):
        self.dns.is_down = True
        self.start()
        self.check_later()

    def check_later(self):
        with self.gateway.client() as client:
            reply = client.command("MAIL FROM:<a@good.test>")
            self.assertEqual((reply.code, reply.status), (451, "4.1.8"), reply)
            self.assertEqual(client.command("MAIL FROM:<>").code, 250)

    def test_clients_that_leave_while_the_dns_is_asked(self):
        self.dns.is_down = True
        self.start()
        for n in range(20):
            with socket.create_connection(("127.0.0.1", self.gateway.port())) as client:
                client.recv(1000)
                client.sendall(b"EHLO x.test\r\n")
                client.recv(1000)
                client.sendall(f"MAIL FROM:<a@n{n}.test>\r\n".encode())
                if n % 2 == 0:
                    client.shutdown(socket.SHUT_WR)
        wait_until(lambda: self.gateway.metric("postern_smtp_connections") == 0, "no session")
        self.gateway.stop()

    def test_without_the_key_nothing_is_asked(self):
        self.dns.is_down = True
        self.start(verify_sender_domain=False)
        with self.gateway.client() as client:
            self.assertEqual(client.mail("a@nosuch.test", ["b@box.test"], MAIL).code, 250)


if __name__ == "__main__":
    unittest.main()
