"""Texts that hold others: what stands in them, and under which name.  Text in, places out; bounded,
linear.
"""
