"""Vendors of models: one module each says how its API is recognised, read and priced."""
