"""Bytes with watch, lease and compare-and-swap: the only place where the stages of Argosy meet."""

import os

# gRPC's handlers of fork() abort a child that is forked while its threads work, before the child gets to exec (uvloop forks plainly).
# It reads this when it is first imported, and whoever imports it here has passed this line.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
