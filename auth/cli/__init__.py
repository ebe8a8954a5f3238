"""The command line of operators, `python -m auth`."""
