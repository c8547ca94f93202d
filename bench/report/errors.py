"""The one exception that leaves this package."""


class ReportError(Exception):
    """The report cannot be made; the text says what is wrong, where, and what to do."""
