"""The gate: who calls, whether they may, and the record of it. Knows ASGI, and no SQL."""
