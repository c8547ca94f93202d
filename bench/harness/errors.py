"""What can go wrong. The text is a sentence for a table's cell: what, where, and what to do."""


class BenchError(Exception):
    """A measurement, or all of them, cannot be done."""


class Unsupported(BenchError):
    """The system does not speak what the scenario needs: no fault, but no figure either."""


class Unavailable(BenchError):
    """The system cannot be had or run here (exit status 69 of its scripts)."""


class Interrupted(BaseException):
    """TERM or INT came. Not an Exception, so that nothing but a `finally` sees it on its way."""

    def __init__(self, number: int):
        super().__init__(f"signal {number}")
        self.number = number
