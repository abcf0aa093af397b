"""The ledger on disk: written durably, recovered, verified, packed, erased."""
