"""Everything that is kept: users, keys, hits and the usage ledger. Knows SQL, and no HTTP."""
