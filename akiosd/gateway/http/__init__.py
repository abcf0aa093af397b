"""HTTP/1.1 as the agent speaks it: its connection, one request with its answer, and the agent that leaves."""
