"""Suites to subclass, for a gate, a kernel or a protocol; they alone need pytest and hypothesis."""
