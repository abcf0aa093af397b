"""What each endpoint does: one request to akiosd, or none, and the forms of its answer."""
