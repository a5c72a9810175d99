"""privinf: transformers on data that nobody but the asker may read."""

__version__ = "0.1.0"
