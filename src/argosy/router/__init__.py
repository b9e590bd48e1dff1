"""HTTP to where the work is: routes from announced keys, nginx that serves them, the entry in front, the announcer behind."""
