"""The two sockets of akiosd: control.sock for requests, events.sock for those who watch."""
