"""etcd's v2 keys over the store: shapes (what clients say), tree, plan (what a write does), space (what is served), http (the door)."""
