"""The client: works with the user's own rights, and asks akiosd for everything else."""
