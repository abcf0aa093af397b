"""Bodies of requests redacted as they pass, by the rules of this cage."""
