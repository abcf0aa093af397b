"""The gateway: one process for each cage, outside it, that answers its names and carries its requests."""
