"""One machine's side: keep what is placed here running, and say what it does."""
