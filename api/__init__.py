"""The routes of the API: what requests and answers look like."""
