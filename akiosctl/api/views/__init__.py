"""What the pages show, put together from what akiosd says: one answer a view."""
