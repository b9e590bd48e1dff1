"""etcd's v2 keys over the store: what clients say (shapes), the tree, what a write does (plan), the keyspace served (space), the door (http)."""
