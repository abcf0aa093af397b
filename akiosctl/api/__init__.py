"""The REST API: an unprivileged client of akiosd's two sockets that speaks HTTP."""
