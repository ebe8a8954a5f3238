"""Finds a checkpoint, checks its files, and loads its classifier in torch."""
