"""`python -m app`: the command `errand`."""

import sys

from app.cli import main

sys.exit(main())
