"""A registry over one store: what http.py speaks HTTP for. It holds nothing but caches of what never changes and the running hashes of
uploads, so that any number of registries, in any number of processes on any number of machines, serve one store at the same time.

The methods take names that have passed names.py. They raise Fault (what the client is told), StoreUnavailable and StorageFull.
"""

from __future__ import annotations

from argosy.images.blobs import Blobs
from argosy.images.manifests import Manifests
from argosy.images.repositories import Repositories
from argosy.images.storage import Storage
from argosy.images.uploads import Uploads


class Registry:
    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.blobs = Blobs(storage)
        self.uploads = Uploads(storage, self.blobs)
        self.manifests = Manifests(storage, self.blobs)
        self.repositories = Repositories(storage)
