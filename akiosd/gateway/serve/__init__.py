"""The servers towards the cage: accepted connections, HTTP, and DNS."""
