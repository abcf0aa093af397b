"""Frozen values and tables that several packages share.  No I/O."""
