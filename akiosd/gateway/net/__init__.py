"""Network facts without I/O: limits, names and their rules, TLS, DNS, heads of
requests, refusals.
"""
