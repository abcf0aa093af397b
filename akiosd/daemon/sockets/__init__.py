"""The two sockets of akiosd: requests of clients, and events for who watches."""
