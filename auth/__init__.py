"""Authentication, rate limit and usage log: who calls, whether they may, and the record of it. No SQL here."""
