"""AKIOS: the security cage for AI agents on Linux; this package is the daemon."""

__version__ = "1.0.0"
