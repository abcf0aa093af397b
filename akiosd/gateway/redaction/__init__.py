"""The redactors of this cage, and request bodies redacted as they pass."""
