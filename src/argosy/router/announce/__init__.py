"""The sidekick done right: a key that stands while what it names can be reached, and is gone the moment it is told to stop."""
