"""Opening a store by its URL. Clouds are clouds.py's: loaded only for them, because an agent with images in a folder need not pay for them.

file:///var/lib/argosy/images      a folder; made if it is not there
memory://                          of this process, gone with it
az://CONTAINER[/PREFIX]            Azure Blob: AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT_NAME and _KEY, ...; the container
                                   is made if it is not there
s3://BUCKET[/PREFIX]               S3 and compatible: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, …
gs://BUCKET[/PREFIX]               Google Cloud Storage: GOOGLE_APPLICATION_CREDENTIALS, …

`?endpoint=http://127.0.0.1:9000` names another server than the provider's own, `?region=` and `?account=` stand for the variables. Secrets
come from the environment only: URLs are shown and logged.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from argosy.errors import InvalidInput
from argosy.images.folder import Folder
from argosy.images.storage import Storage

CLOUDS = "argosy.images.clouds"
"""Loaded for what needs it only: obstore is large."""


async def open_storage(url: str, environment: Mapping[str, str]) -> Storage:
    """Opens it and makes sure that it can be used. Raises InvalidInput for an URL that names no store, Refused for credentials that are not
    accepted, StoreUnavailable for one that cannot be reached."""
    scheme = url.partition("://")[0] if "://" in url else ""
    storage: Storage
    if scheme == "file":
        folder = Folder(folder_of(url))
        await folder.open()
        storage = folder
    elif scheme == "memory":
        storage = await importlib.import_module(CLOUDS).open_memory()
    elif scheme in ("az", "s3", "gs"):
        storage = await importlib.import_module(CLOUDS).open_cloud(url, environment)
    else:
        raise InvalidInput(
            f"{url.partition('?')[0]!r} is no image store", remedy="file:///PATH, az://CONTAINER, s3://BUCKET, gs://BUCKET or memory://"
        )
    return storage


def folder_of(url: str) -> Path:
    """Of file:///PATH. Raises InvalidInput for one that is not absolute."""
    split = urlsplit(url)
    path = Path(unquote(split.path))
    if split.netloc not in ("", "localhost") or not path.is_absolute() or path == Path("/") or split.query:
        raise InvalidInput(f"{url!r} is no folder for images", remedy="write file:///var/lib/argosy/images")
    return path
