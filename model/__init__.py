"""The classifier: from a checkpoint to probabilities. Knows no HTTP, and no SQL."""
