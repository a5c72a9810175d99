"""The SDK: clients of two parties, how they generate, and what comes back."""
