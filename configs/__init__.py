"""The project's settings, and BentoML's own knobs beside them as YAML."""
