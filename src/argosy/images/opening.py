"""Opening a store by its URL.

file:///var/lib/argosy/images      a folder; made if it is not there
memory://                          of this process, gone with it
az://CONTAINER[/PREFIX]            Azure Blob: AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT_NAME and _KEY, …; the container
                                   is made if it is not there
s3://BUCKET[/PREFIX]               S3 and compatible: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, …
gs://BUCKET[/PREFIX]               Google Cloud Storage: GOOGLE_APPLICATION_CREDENTIALS, …

`?endpoint=http://127.0.0.1:9000` names another server than the provider's own, `?region=` and `?account=` stand for the variables. Secrets
come from the environment only: URLs are shown and logged.
"""

from __future__ import annotations

from collections.abc import Mapping

from argosy.images.storage import Storage


async def open_storage(url: str, environment: Mapping[str, str]) -> Storage:
    """Opens it and makes sure that it can be used. Raises InvalidInput for an URL that names no store, Refused for credentials that are not
    accepted, StoreUnavailable for one that cannot be reached."""
    raise NotImplementedError
