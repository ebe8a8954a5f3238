"""The routes of operators, `/v2/admin`: what `python -m auth` does with users, keys, usage and the audit log."""
