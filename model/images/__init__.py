"""From an image file of any format to the input of the model."""
