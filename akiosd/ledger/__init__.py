"""The ledger's formats and decisions: Merkle trees, notes, proofs, order, verdicts.  No I/O."""
