"""Quantises a model to int8, calibrated with photographs."""
