"""Measures which configuration is the fastest on this machine, among those that are accurate enough."""
