"""Errors as callers see them (RFC 9457). The bottom room: the gate and the API both speak through it."""
