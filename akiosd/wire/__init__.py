"""The protocols between akiosctl, akiosd and gateways: frames, messages, sessions.  No I/O."""
