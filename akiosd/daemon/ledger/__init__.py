"""The ledger as Trio services: append, commit, publish, rotate its key, prune, read the clocks."""
