"""Scripts that measure, each writing JSON with machine, versions and commit."""
