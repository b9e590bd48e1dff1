"""Speaking to one Docker Engine."""
