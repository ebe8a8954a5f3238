"""The command `classify`."""
