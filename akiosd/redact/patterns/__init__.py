"""The patterns, one file per category."""

from akiosd.redact.patterns import communication, digital, financial, health, location, personal

PATTERNS = (
    *personal.PATTERNS,
    *financial.PATTERNS,
    *health.PATTERNS,
    *digital.PATTERNS,
    *communication.PATTERNS,
    *location.PATTERNS,
)
