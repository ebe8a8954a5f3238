"""Decodes an image file of any supported format, and resizes it to the input of the model."""
