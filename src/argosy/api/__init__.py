"""HTTP APIs of one machine: Argosy v1, fleet v1, etcd v2 keys, and what machines ask each other over mutual TLS."""
