"""A program in a cage goes on while akiosd is restarted; a line on stdin says that it was."""

from __future__ import annotations

import sys

from akiosctl import Cage

with Cage() as cage:
    program = cage.start("sh", "-c", "read line; echo $line; exit 7")
    print("up", flush=True)
    program.write(sys.stdin.readline().encode())
    done = program.collect(timeout=60)
    assert (done.exit_code, done.stdout) == (7, b"go on\n"), done
    # And the policy's bound on output is held, here where it is read.
    done = cage.run("sh", "-c", "head -c 900000 /dev/zero")
    assert done.exit_code == 0 and len(done.stdout) == 900_000
    done = cage.run("cat", "/dev/zero", timeout=60)
    assert done.exit_code != 0 and "output" in done.reason, (done.exit_code, done.reason)
print("done")
