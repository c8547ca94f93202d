"""postern queue and postern route: what an operator sees and changes, over the command line and the admin API."""

import json
import subprocess
import unittest

from tests.support.gateway import Gateway, binary, settings, wait_until
from tests.support.sink_server import Sink

MAIL = b"Subject: x\r\n\r\nhello\r\n"


class OperateCase(unittest.TestCase):
    def setUp(self):
        self.sink = Sink(is_up=False)
        self.addCleanup(self.sink.close)
        self.gateway = Gateway(settings(
            sink_address=self.sink.address, node={"cores": 2, "hostname": "mx.gateway.test"},
            delivery={"retry": {"first": "1h", "factor": 1, "max": "1h", "jitter": "0%"}}))
        self.addCleanup(self.gateway.clean_up)
        self.gateway.start()

    def postern(self, *arguments, code=0):
        admin = f"127.0.0.1:{self.gateway.admin_port()}"
        done = subprocess.run([binary(), *arguments, "--admin", admin], capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=60, check=False)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done.stdout

    def send(self, *recipients, sender="a@box.test"):
        with self.gateway.client() as client:
            self.assertEqual(client.mail(sender, list(recipients), MAIL).code, 250)

    def fill(self):
        """Three messages that wait for an hour; their ids by recipient."""
        for recipient, sender in (("one@sink.test", "a@box.test"), ("two@sink.test", "a@box.test"),
                                  ("three@sink.test", "")):
            self.send(recipient, sender=sender)
        wait_until(lambda: len(self.gateway.log("deferred")) == 3, "three deferrals")
        wait_until(lambda: all(message["due"] for message in self.gateway.queue()), "they are on disk")
        return {message["recipients"][0]["address"].partition("@")[0]: message["id"]
                for message in self.gateway.queue()}

    def states(self):
        return {message["recipients"][0]["address"].partition("@")[0]: message["state"]
                for message in self.gateway.queue()}


class QueueTest(OperateCase):
    def test_list_with_filters(self):
        ids = self.fill()

        def listed(*options):
            page = json.loads(self.postern("queue", "list", "--json", *options))
            return {message["id"] for message in page["messages"]}

        self.assertEqual(listed(), set(ids.values()))
        self.assertEqual(listed("--domain", "SINK.test"), set(ids.values()))
        self.assertEqual(listed("--domain", "other.test"), set())
        self.assertEqual(listed("--sender", "<>"), {ids["three"]})
        self.assertEqual(listed("--sender", "a@BOX.test", "--limit", "1"), {min(ids["one"], ids["two"])})
        self.assertEqual(listed("--recipient", "two@sink.test"), {ids["two"]})
        self.assertEqual(listed("--state", "held"), set())
        self.assertEqual(listed("--older", "1h"), set())
        self.assertIn(ids["one"], self.postern("queue", "list"))

    def test_show(self):
        ids = self.fill()
        text = self.postern("queue", "show", ids["one"])
        for word in (ids["one"], "one@sink.test", "a@box.test", "queued", "4.4.1"):
            self.assertIn(word, text)
        self.assertEqual(json.loads(self.postern("queue", "show", ids["two"], "--json"))["id"], ids["two"])
        self.postern("queue", "show", "0000000000000", code=1)

    def test_hold_and_release(self):
        ids = self.fill()
        self.postern("queue", "hold", ids["one"])
        self.assertEqual(self.states()["one"], "held")
        wait_until(lambda: self.gateway.metric("postern_queue_messages", state="held") == 1, "the metric")
        self.sink.start()
        self.postern("queue", "retry", "--all")
        wait_until(lambda: len(self.sink.accepted()) == 2, "the others")
        # It stays held over a restart, and comes when it is released.
        self.gateway.restart()
        wait_until(lambda: self.states() == {"one": "held"}, "the held one alone")
        self.postern("queue", "release", ids["one"])
        wait_until(lambda: len(self.sink.accepted()) == 3, "the held one")
        self.gateway.wait_for_empty_queue()
        self.postern("queue", "release", ids["one"], code=1)

    def test_remove(self):
        ids = self.fill()
        before = self.gateway.queue()
        self.postern("queue", "remove", "--domain", "sink.test", "--dry-run")
        self.assertEqual(self.gateway.queue(), before)
        self.postern("queue", "remove", ids["one"], code=64)  # no terminal to ask on
        self.postern("queue", "remove", ids["one"], "--yes")
        self.assertNotIn("one", self.states())
        results = json.loads(self.postern("queue", "remove", "--recipient", "two@sink.test", "--yes", "--json"))
        self.assertEqual(results["results"], {ids["two"]: "done"})
        self.assertEqual(list(self.states()), ["three"])
        self.assertEqual(self.gateway.log("notified"), [])

    def test_bounce(self):
        ids = self.fill()
        self.postern("queue", "bounce", ids["one"], ids["three"], "--reason", "5.4.1 the server is gone", "--yes")
        wait_until(lambda: self.gateway.log("notified"), "a notification")
        box = self.gateway.folder / "mail" / "box.test" / "a" / "new"
        wait_until(lambda: box.is_dir() and list(box.iterdir()), "it in the mailbox")
        text = next(box.iterdir()).read_text()
        self.assertIn("Status: 5.4.1", text)
        self.assertIn("the server is gone", text)
        # Nobody is told of what came from the null reverse-path.
        wait_until(lambda: list(self.states()) == ["two"], "the other one alone")
        self.assertEqual(len(self.gateway.log("notified")), 1)

    def test_mistakes_are_named(self):
        self.postern("queue", "lst", code=64)
        self.postern("queue", "retry", code=64)
        self.postern("queue", "retry", "not-an-id!", code=64)
        self.postern("queue", "list", "--state", "lost", code=64)
        self.postern("queue", "list", "--older", "soon", code=64)
        self.postern("queue", "retry", "0000000000000", code=1)

    def test_the_api_wants_its_header(self):
        ids = self.fill()
        status, _ = self.gateway.get(f"/api/v1/queue/remove?id={ids['one']}", method="POST")
        self.assertEqual(status, 403)
        status, _ = self.gateway.get(f"/api/v1/queue/remove?id={ids['one']}")
        self.assertEqual(status, 405)
        self.assertEqual(len(self.gateway.queue()), 3)

    def test_many_messages(self):
        with self.gateway.client() as client:
            for n in range(90):
                self.assertEqual(client.mail("a@box.test", [f"u{n}@sink.test"], MAIL).code, 250)
        with self.gateway.client() as client:
            for n in range(90, 180):
                self.assertEqual(client.mail("a@box.test", [f"u{n}@sink.test"], MAIL).code, 250)
        wait_until(lambda: len(self.gateway.log("deferred")) == 180, "all deferred")
        wait_until(lambda: all(message["due"] for message in self.gateway.queue()), "they are on disk")
        self.postern("queue", "hold", "--all")
        self.assertEqual(set(self.states().values()), {"held"})
        self.sink.start()
        self.postern("queue", "release", "--state", "held")
        wait_until(lambda: len(self.sink.accepted()) == 180, "all of them")
        self.gateway.wait_for_empty_queue()


class RouteTest(OperateCase):
    def destinations(self):
        return {one["name"]: one for one in
                json.loads(self.postern("route", "list", "--json"))["destinations"]}

    def test_list(self):
        self.assertEqual(self.destinations()[self.sink.address]["state"], "good")
        self.send("a@sink.test")
        wait_until(lambda: self.destinations()[self.sink.address]["state"] == "down", "it is down")
        self.assertIn("4.4.1", self.destinations()[self.sink.address]["reason"])
        self.assertIn(self.sink.address, self.postern("route", "list"))

    def test_suspend_and_resume(self):
        self.sink.start()
        self.postern("route", "suspend", self.sink.address, "--reason", "their maintenance", "--for", "1h")
        self.send("a@sink.test")
        wait_until(lambda: any(message["due"] for message in self.gateway.queue()), "it is postponed")
        message = self.gateway.queue()[0]
        self.assertEqual(message["recipients"][0]["attempts"], 0)
        self.assertIn("their maintenance", message["recipients"][0]["reply"])
        self.assertEqual(self.sink.session_count, 0)
        # It stays suspended over a restart.
        self.gateway.restart()
        wait_until(lambda: self.destinations()[self.sink.address]["state"] == "suspended", "suspended again")
        self.assertEqual(self.sink.session_count, 0)
        self.postern("route", "resume", self.sink.address)
        self.assertEqual(self.destinations()[self.sink.address]["state"], "good")
        self.postern("queue", "retry", "--all")
        wait_until(lambda: self.sink.accepted("a@sink.test"), "the message")
        self.postern("route", "resume", self.sink.address, code=1)

    def test_it_ends_by_itself(self):
        self.sink.start()
        self.postern("route", "suspend", self.sink.address, "--for", "1s")
        self.send("a@sink.test")
        wait_until(lambda: self.sink.accepted("a@sink.test"), "the message, when the time is over")

    def test_mistakes_are_named(self):
        self.postern("route", "suspnd", "x", code=64)
        self.postern("route", "suspend", code=64)
        self.postern("route", "suspend", "x", "--for", "ever", code=64)
        self.postern("route", "resume", code=64)
        self.postern("route", "resume", "nobody.test", code=1)


if __name__ == "__main__":
    unittest.main()
