"""The way out: one name resolved, its address checked, one connection dialled."""
