"""From the bytes that a caller sent to probabilities: the queue, decoding, batches, the runner. Knows no routes."""
