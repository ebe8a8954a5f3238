"""Other ways to serve the same model, each in a process of its own: what this project's server is measured against."""
