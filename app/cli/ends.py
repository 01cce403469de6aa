"""How a command ends: the exit codes that scripts can rely on, and the error that ends one early."""

FINE = 0
REFUSED = 1
"""The job has failed, or the service has refused what was asked of it."""
USAGE = 2
"""The command line is wrong: an option, a task's name, an argument, a setting, a line of a file."""
CANCELLED = 3
"""The job was cancelled."""
TIMED_OUT = 4
"""The job was not done within the time that was to be waited; it goes on."""
UNREACHABLE = 5
"""No service answers."""
INTERRUPTED = 128 + 2
"""Ctrl-C (SIGINT), as shells count it."""
BROKEN_PIPE = 128 + 13
"""Whoever read the output has gone (SIGPIPE), as shells count it."""

TABLE = (
    (FINE, "all is well"),
    (REFUSED, "the job has failed, or the service has refused"),
    (USAGE, "the command line is wrong, or a line of the file"),
    (CANCELLED, "the job was cancelled"),
    (TIMED_OUT, "the job was not done in time; it goes on"),
    (UNREACHABLE, "no service answers"),
    (INTERRUPTED, "interrupted by Ctrl-C"),
)
"""What `--help` says of them."""


class StopError(Exception):
    """Ends the command. The message is for the user: one line that says what to do; empty for none."""

    def __init__(self, message: str = "", code: int = USAGE) -> None:
        super().__init__(message)
        self.code = code
