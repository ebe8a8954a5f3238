"""Prepares a model: fetches a checkpoint, converts it, compares it with transformers, and stores the result."""
