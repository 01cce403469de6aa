"""The command `errand`.

Importing it is light: whatever starts a process anew imports this module again. `serve` is
apart from the other commands for the same reason: a service has no use for what draws tables.
"""

import sys
from collections.abc import Sequence

from app.cli.ends import INTERRUPTED


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code. argv: None means the process's own."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        if arguments[:1] == ["serve"]:
            from app.cli import serve  # noqa: PLC0415  (each brings much that the other does not need)

            return serve.main(arguments[1:])
        from app.cli import program  # noqa: PLC0415

        return program.main(arguments)
    except KeyboardInterrupt:
        # While it was being loaded: afterwards each takes care of that itself.
        return INTERRUPTED
