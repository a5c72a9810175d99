"""Calls: TLS roles, frames and messages, how long a call lives, and who is admitted."""
