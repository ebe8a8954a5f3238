"""The routes of the API, and what their requests and answers look like."""
