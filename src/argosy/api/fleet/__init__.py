"""fleet's API v1: its shapes and discovery document, and the handlers."""
