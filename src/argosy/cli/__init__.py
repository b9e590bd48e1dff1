"""The command line: one file per verb, imported only when the verb is used, so that `--help` and lists start fast."""
