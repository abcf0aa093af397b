"""The life of a cage as tables and functions over values: states, posture, reasons of its end."""
