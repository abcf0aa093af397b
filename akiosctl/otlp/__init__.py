"""``akiosctl events --otlp``: spans and metrics for OpenTelemetry."""
