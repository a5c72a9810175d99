"""Models in other formats and from package registries, written as plain Hugging Face directories."""
