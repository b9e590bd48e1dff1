"""What all HTTP APIs share: listeners, connections, and who may ask over them."""
