"""D15: a limit of the size of a file is reached under a running daemon: 552 5.3.4 after the dot,
and mail is taken again when it is gone."""

import resource

from tests.support.daemon_case import DaemonTest
from tests.support.gateway import wait_until, without_trace

FILE_BYTES_MAX = 2 << 20  # a segment is larger; the index and the log are smaller
CONTENT = b"Subject: x\r\n\r\n" + (b"x" * 998 + b"\r\n") * 100
COUNT_MAX = 200


class FileSizeTest(DaemonTest):
    settings = {"node": {"cores": 1}}

    def test_d15_a_file_that_may_not_grow(self):
        process = self.gateway.process.pid
        client = self.client(timeout=60)
        soft, hard = resource.prlimit(process, resource.RLIMIT_FSIZE)
        resource.prlimit(process, resource.RLIMIT_FSIZE, (FILE_BYTES_MAX, hard))
        accepted = 0
        try:
            reply = None
            for _ in range(COUNT_MAX):
                reply = client.mail("a@client.test", ["kept@box.test"], CONTENT)
                if reply.code != 250:
                    break
                accepted += 1
            self.assert_reply(reply, 552, "5.3.4")
            self.assertGreater(accepted, 0)
            self.assert_goes_on(client)
        finally:
            resource.prlimit(process, resource.RLIMIT_FSIZE, (soft, hard))

        def is_taken():
            return client.mail("a@client.test", ["again@box.test"], CONTENT).code == 250

        wait_until(is_taken, "mail to be taken again", step=0.3)
        for mail in self.gateway.wait_for_mail("kept@box.test", accepted):
            self.assertEqual(without_trace(mail), CONTENT)
        self.assertEqual(len(self.gateway.wait_for_mail("again@box.test")), 1)
