"""A session: two parties that meet, and the client whose query or generation they run."""
