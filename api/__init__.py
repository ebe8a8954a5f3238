"""The API: what requests and answers look like, and how errors are said."""
