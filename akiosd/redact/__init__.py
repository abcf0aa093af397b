"""Personal data: found, and masked, pseudonymised or blocked.  Functions over values, no I/O."""
