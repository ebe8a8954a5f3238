"""Stores users, keys, hits, the usage log and the audit log. The only room that knows SQL; it knows no HTTP."""
