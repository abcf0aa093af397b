"""The gateway as a process: the zygote that forks it, its confinement, its main function."""
