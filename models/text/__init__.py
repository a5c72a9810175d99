"""Text as a model takes it: token ids, prompts behind a public prefix, conversations in a template's form."""
