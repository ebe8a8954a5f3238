"""Computes probabilities from the image bytes that a caller sent: queue, decoding, batches, runner. Knows no routes."""
