"""Other servers of the same model, each in its own process, which this project's server is compared with."""
