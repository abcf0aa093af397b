"""Cages without privileges: no namespaces, no uid of their own, no control groups.  What holds them
instead is Landlock, seccomp, and akiosd, which connects for them.
"""
