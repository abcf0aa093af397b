"""Workflows: what their steps do, each inside a cage."""
