"""The life of one cage in the kernel: made in advance, fitted to a request, run, recorded, kept or
wiped.
"""
