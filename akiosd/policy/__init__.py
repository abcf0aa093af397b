"""The policy: read, merged, explained, and compiled to a plan and numbers.  No I/O."""
