"""The requests that clients may make, who may make them, and the answers."""
