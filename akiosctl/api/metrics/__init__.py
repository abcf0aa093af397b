"""/metrics: what Prometheus collects."""
