"""How to install what an extra of akios brings, into the Python that runs this."""

from __future__ import annotations

import os
import shlex
import sys
import sysconfig


def install_command(extra: str) -> str:
    """A command that the user can give as it stands; outside of a venv, what it is for one."""
    words = ["install", f"'akios[{extra}]'"]
    if sys.prefix == sys.base_prefix:
        return " ".join(["in a venv: pip", *words])
    # Neither the name nor the pip that PATH finds need be those of this venv.
    pip = os.path.join(sys.prefix, "bin", "pip")
    python = os.path.join(sys.prefix, "bin", "python")
    program = [shlex.quote(pip)] if os.path.exists(pip) else [shlex.quote(python), "-m", "pip"]
    own = os.access(sysconfig.get_path("purelib"), os.W_OK)
    return " ".join([*([] if own else ["sudo"]), *program, *words])
