"""``akiosctl top``: cages as they are at this moment."""
