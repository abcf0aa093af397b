"""Cages for programs in Python: ``from akiosctl import Cage``."""
