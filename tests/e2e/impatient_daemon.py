"""akiosd that waits for seconds, instead of a minute, for the clients of programs that an earlier
one started.

    python impatient_daemon.py AKIOSD ARGUMENT...
"""

from __future__ import annotations

import sys

from akiosd.daemon import main
from akiosd.daemon.requests import standing_requests

if __name__ == "__main__":
    standing_requests._COME_BACK_S = 5.0
    sys.exit(main.main(sys.argv[2:]))
