"""Pages, tables and plots, made from the results alone."""
