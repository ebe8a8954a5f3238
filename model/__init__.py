"""Prepares a model from a checkpoint, and computes probabilities from images. Uses neither HTTP nor SQL."""
