"""A cluster of machines on this host: full ones (nspawn) or groups of processes; also the harness of tests/lab."""
