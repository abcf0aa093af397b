"""Thin wrappers around the kernel, one mechanism a file; the only importer of the
native extension.
"""
