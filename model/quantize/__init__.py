"""Makes an int8 model from photographs."""
