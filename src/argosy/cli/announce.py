"""argosy announce: the sidekick done right."""
