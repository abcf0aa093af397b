"""What the gateway knows of networks, names and bytes before any rule: limits, names, TLS, DNS, heads of requests."""
