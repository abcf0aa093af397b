"""HTTP/1.1 towards the agent: its connection, one request with its answer, and noticing that it
left.
"""
