"""Each lint finds what it is there for: it is given a small tree with one thing wrong."""

import shutil
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import banned  # noqa: E402
import docs  # noqa: E402
import format as format_lint  # noqa: E402
import layers  # noqa: E402
import tree  # noqa: E402


class LintTest(unittest.TestCase):
    def setUp(self):
        self.root = Path(tempfile.mkdtemp(prefix="postern-lint-"))
        self.addCleanup(shutil.rmtree, self.root)

    def write(self, name, text, mode=0o644):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="")
        path.chmod(mode)

    def assert_found(self, problems, *words):
        self.assertEqual(len(problems), 1, problems)
        for word in words:
            self.assertIn(word, problems[0])


class LayersTest(LintTest):
    HEADERS = [
        "ring/base/slice.h", "ring/loop.h", "store/queue.h", "resolver/dns.h",
        "server/smtp/reply.h", "server/config/config.h", "server/mail/received.h",
        "server/policy/routing.h", "server/auth/users.h", "server/ingress/session.h",
        "server/delivery/client.h", "server/admin/http.h", "server/ctl/ctl.h",
        "server/core/core.h", "tests/support/test.h", "bench/load.h",
    ]

    def setUp(self):
        super().setUp()
        for header in self.HEADERS:
            self.write(header, "#pragma once\n")

    def test_allowed(self):
        cases = [
            ("ring/loop.c", "ring/base/slice.h"), ("store/queue.c", "ring/loop.h"),
            ("server/config/config.c", "server/smtp/reply.h"),
            ("server/mail/received.c", "server/smtp/reply.h"),
            ("server/ingress/session.c", "store/queue.h"),
            ("server/core/core.c", "server/delivery/client.h"),
            ("server/main.c", "server/core/core.h"), ("bench/load.c", "server/smtp/reply.h"),
            ("tests/unit/store/queue_test.c", "tests/support/test.h"),
        ]
        for user, used in cases:
            self.write(user, f'#include "{used}"\n')
        self.write("ring/loop_internal.h", "#include <liburing.h>\nstruct io_uring_sqe *next(void);\n")
        self.write("ring/loop_uring.c", '#include "ring/loop_internal.h"\n#include <liburing.h>\n')
        self.assertEqual(layers.check(self.root), [])

    def test_forbidden(self):
        cases = [
            ("ring/base/slice.c", "ring/loop.h"), ("ring/loop.c", "store/queue.h"),
            ("store/queue.c", "resolver/dns.h"), ("resolver/dns.c", "store/queue.h"),
            ("server/smtp/reply.c", "server/config/config.h"),
            ("server/smtp/reply.c", "store/queue.h"), ("server/config/config.c", "ring/loop.h"),
            ("server/mail/received.c", "server/policy/routing.h"),
            ("server/policy/routing.c", "server/auth/users.h"),
            ("server/ingress/session.c", "server/delivery/client.h"),
            ("server/delivery/client.c", "server/ingress/session.h"),
            ("server/admin/http.c", "server/ctl/ctl.h"),
            ("server/ctl/ctl.c", "server/core/core.h"), ("store/queue.c", "tests/support/test.h"),
            ("server/main.c", "bench/load.h"),
        ]
        for user, used in cases:
            with self.subTest(user=user, used=used):
                self.write(user, f'/* one */\n#include "{used}"\n')
                self.assert_found(layers.check(self.root), f"{user}:2")
                (self.root / user).unlink()

    def test_paths_and_the_kernels_interface(self):
        self.write("ring/loop_internal.h", "#include <liburing.h>\n")
        for name, text, word in [
            ("ring/conn.c", "#include <liburing.h>\n", "loop*.c"),
            ("ring/loop.h", "struct io_uring_sqe *next(void);\n", "io_uring_sqe"),
            ("ring/conn.c", '#include "loop.h"\n', "not a path"),
            ("ring/conn.c", '#include "ring/loop_internal.h"\n', "loop*.c"),
            ("server/new/thing.c", "", "no folder"),
        ]:
            with self.subTest(name=name, word=word):
                self.write(name, text)
                self.assert_found(layers.check(self.root), name, word)
                self.write(name, "")
                if name.startswith("server/new"):
                    shutil.rmtree(self.root / "server/new")


class BannedTest(LintTest):
    def test_calls(self):
        for call in ("strcpy(a, b)", "strcat(a, b)", "sprintf(a, b)", "vsprintf(a, b, c)",
                     "strtok(a, b)", "atoi(a)", "atol (a)", "gets(a)", "localtime(&t)",
                     "gmtime(&t)", "alloca(9)", "system(a)", "popen(a, b)"):
            with self.subTest(call=call):
                self.write("ring/x.c", f"void f(void)\n{{\n    {call};\n}}\n")
                self.assert_found(banned.check(self.root), "ring/x.c:3", call.split("(")[0].strip())

    def test_let_pass(self):
        self.write("ring/x.c", '/* strcpy(a) */ // gets(b)\nconst char *t = "system(x)";\n'
                               "int y = snprintf(b, 1, t) + my_strcpy(1) + o->system(2);\n")
        self.assertEqual(banned.check(self.root), [])

    def test_dead_code_and_marks(self):
        self.write("bench/x.c", "#if 0\n#endif\n")
        self.assert_found(banned.check(self.root), "bench/x.c:1", "#if 0")
        self.write("bench/x.c", "/* FIX" + "ME later */\n")
        self.assert_found(banned.check(self.root), "bench/x.c:1", "FIX" + "ME")


class DocsTest(LintTest):
    def test_both_ways(self):
        self.write("ring/x.h", "#define X_BYTES_MAX 9\n")
        self.write("server/admin/m.c", 'void f(void)\n{\n    put("postern_x_seconds_bucket");\n}\n')
        self.write("docs/limits.md", "`X_BYTES_MAX` is nine.\n")
        self.write("docs/metrics.md", "`postern_x_seconds` is a histogram.\n")
        self.assertEqual(docs.check(self.root), [])

        self.write("docs/limits.md", "nothing\n")
        self.assert_found(docs.check(self.root), "ring/x.h:1", "X_BYTES_MAX")
        self.write("docs/limits.md", "`X_BYTES_MAX` `GONE_MAX`\n")
        self.assert_found(docs.check(self.root), "docs/limits.md", "GONE_MAX")
        self.write("docs/limits.md", "`X_BYTES_MAX`\n")
        self.write("docs/metrics.md", "`postern_gone` `postern_x_seconds`\n")
        self.assert_found(docs.check(self.root), "docs/metrics.md", "postern_gone")
        self.write("docs/metrics.md", "none\n")
        self.assert_found(docs.check(self.root), "server/admin/m.c:3", "postern_x_seconds")


    def test_keys(self):
        self.write("server/config/schema.c", '{.name = "hostname"}, UNBUILT("tls"), {.name = "cores"},\n')
        self.write("docs/configuration.md", "`hostname` is a name.\n")
        self.assert_found(docs.check(self.root), "server/config/schema.c:1", "cores")
        self.write("docs/configuration.md", "`hostname` and `node.cores`\n")
        self.assertEqual(docs.check(self.root), [])


class TreeTest(LintTest):
    def test_run_bits(self):
        self.write("go", "#!/bin/sh\n")
        self.assert_found(tree.check(self.root), "go", "no run bit")
        self.write("go", "words\n", 0o755)
        self.assert_found(tree.check(self.root), "go", "has a run bit")

    def test_text(self):
        self.write("a.md", "see /ho" + "me/someone/x\n")
        self.assert_found(tree.check(self.root), "a.md:1", "machine")
        self.write("a.md", "one\r\n")
        self.assert_found(tree.check(self.root), "a.md:1", "CR LF")
        self.write("a.md", "one")
        self.assert_found(tree.check(self.root), "a.md", "no end")

    def test_path_of_the_checkout(self):
        inner = self.root / "checkout"
        inner.mkdir()
        self.write("checkout/a.md", f"look at {self.root}/elsewhere\n")
        self.assert_found(tree.check(inner), "a.md:1", "machine")


class FormatTest(LintTest):
    def test_finds_a_badly_written_file(self):
        clang_format = shutil.which("clang-format") or shutil.which("clang-format-14")
        if clang_format is None:
            self.skipTest("clang-format is not installed")
        self.write(".clang-format", "BasedOnStyle: LLVM\n")
        self.write("ring/x.c", "int x;\n")
        self.assertEqual(format_lint.check(self.root, clang_format), [])
        self.write("ring/x.c", "int    x ;\n")
        problems = format_lint.check(self.root, clang_format)
        self.assertTrue(problems and "ring/x.c:1" in problems[0], problems)


if __name__ == "__main__":
    unittest.main()
