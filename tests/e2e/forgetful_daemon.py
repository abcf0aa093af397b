"""akiosd that remembers four programs of a cage by their words, instead of a thousand.

python forgetful_daemon.py AKIOSD ARGUMENT...
"""

from __future__ import annotations

import sys

from akiosd.cage import asked_programs
from akiosd.daemon import main

if __name__ == "__main__":
    asked_programs.MOST = 4
    sys.exit(main.main(sys.argv[2:]))
