"""Two gateways that send a domain's mail to each other: the limit of Received fields ends it."""

import email
import unittest

from tests.support.gateway import Gateway, fixed_port, settings, wait_until

MESSAGE = b"Subject: around\r\n\r\nand around\r\n"
HOPS = 100  # Received fields, from which on a message is refused (RFC 5321 section 6.3)


def routes(other_port):
    return [{"match": {"domain": ["loop.test"]},
             "action": {"smtp": {"hosts": [f"127.0.0.1:{other_port}"], "tls": "none"}}},
            {"match": {"domain": ["box.test"]}, "action": {"maildir": {"path": "mail/{domain}/{local}"}}},
            {"match": {"domain": ["*"]}, "action": {"reject": "550 5.1.1 No such one here"}}]


class GatewayLoopTest(unittest.TestCase):
    def gateway(self, port, other_port):
        made = Gateway(settings(listener={"address": [f"127.0.0.1:{port}"]}, routes=routes(other_port),
                                delivery={"retry": {"first": "200ms", "factor": 1, "max": "1s"}}))
        self.addCleanup(made.clean_up)
        made.start()
        return made

    def test_the_message_comes_back_once_and_no_queue_keeps_it(self):
        ports = fixed_port(), fixed_port()
        gateways = [self.gateway(ports[0], ports[1]), self.gateway(ports[1], ports[0])]
        with gateways[0].client() as client:
            self.assertEqual(client.mail("joe@box.test", ["ann@loop.test"], MESSAGE).code, 250)

        def notifications():
            return [mail for gateway in gateways for mail in gateway.mailbox("joe@box.test")]

        wait_until(notifications, "the notification", 60)
        for gateway in gateways:
            gateway.wait_for_empty_queue()
        found = notifications()
        self.assertEqual(len(found), 1)
        report = email.message_from_bytes(found[0])
        status = report.get_payload()[1].get_payload()[1]
        self.assertEqual(status["Action"], "failed")
        self.assertEqual(status["Status"], "5.4.6")
        self.assertEqual(status["Final-Recipient"], "rfc822; ann@loop.test")
        received = sum(len(gateway.log("received")) for gateway in gateways)
        self.assertEqual(received, HOPS)
        for gateway in gateways:
            gateway.stop()


if __name__ == "__main__":
    unittest.main()
