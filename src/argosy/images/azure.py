"""Making an Azure blob container that does not exist yet: the one thing that obstore cannot do. Loaded only where that is so, for Azure's
library is large."""

from __future__ import annotations

import asyncio

from azure.core.credentials import AzureNamedKeyCredential, AzureSasCredential
from azure.core.exceptions import AzureError, ResourceExistsError
from azure.storage.blob import ContainerClient

from argosy.errors import Refused, StoreUnavailable


async def make_container(endpoint: str, container: str, account: str, key: str, sas: str) -> None:
    """`endpoint`: the account's blob service, such as https://ACCOUNT.blob.core.windows.net. Raises Refused and StoreUnavailable."""
    await asyncio.to_thread(_make, endpoint, container, account, key, sas)


def _make(endpoint: str, container: str, account: str, key: str, sas: str) -> None:
    remedy = f"make it yourself: az storage container create --account-name {account} --name {container}"
    if not key and not sas:
        raise Refused(f"the container {container} does not exist, and without an account key it cannot be made", remedy=remedy)
    credential = AzureNamedKeyCredential(account, key) if key else AzureSasCredential(sas)
    try:
        with ContainerClient(endpoint, container, credential=credential, retry_total=2, connection_timeout=5) as client:
            client.create_container()
    except ResourceExistsError:
        return
    except AzureError as error:
        status = getattr(error, "status_code", None)
        if status in (401, 403):
            raise Refused(f"the container {container} does not exist, and these credentials may not make it", remedy=remedy) from None
        code = getattr(error, "error_code", None) or type(error).__name__
        raise StoreUnavailable(f"the container {container} could not be made: {code}", remedy=remedy) from None
