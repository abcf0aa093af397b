"""Calls to models: read, redacted, reserved, sent with the real key, answered with originals
restored, settled.
"""
