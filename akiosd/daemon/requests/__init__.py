"""What may be asked of akiosd, by whom, and the answers."""
