"""Image files that are made by code: hostile ones, and large ordinary ones. `tests/hostile_files.py` lists them all."""
