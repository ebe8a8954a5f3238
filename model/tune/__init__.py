"""Measures how a model is computed the fastest on this machine, and exactly enough."""
