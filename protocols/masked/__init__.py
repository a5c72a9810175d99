"""The two-party protocol on masked values: its interpreters, what the dealer deals, and its gates."""
