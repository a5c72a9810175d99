"""Guesses of the next tokens, which one pass of the servers checks together."""
