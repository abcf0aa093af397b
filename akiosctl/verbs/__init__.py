"""One module for each verb of ``akiosctl``."""
