"""Who may speak to whom: the cluster's authority, each machine's certificate, and TLS contexts made of them."""
