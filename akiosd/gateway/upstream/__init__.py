"""The way out: a name is resolved, its address is checked, and exactly that address is dialled."""
