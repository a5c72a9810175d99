"""What is measured: layers, gates and models, made up or real."""
