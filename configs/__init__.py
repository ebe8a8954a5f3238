"""The settings of the project, and the settings of BentoML as YAML."""
