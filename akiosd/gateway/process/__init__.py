"""The gateway as a process: the zygote, its confinement, one gateway from start to end."""
