"""Stores in clouds: their URLs, their secrets, and the whole contract on Azurite and moto's S3."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from argosy.errors import InvalidInput, Refused, StoreUnavailable
from argosy.images.clouds import AZURITE_KEY, Place, azure_account, open_cloud, parse_place, without_secrets
from argosy.images.opening import folder_of, open_storage
from argosy.images.storage import Storage
from tests.contracts.storage_contract import StorageContract
from tests.images import clouds
from tests.images.house import client_of, image


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("az://images", Place("az", "images")),
        ("az://images/team/a?account=fleet", Place("az", "images", "team/a", account="fleet")),
        ("s3://images/?endpoint=http://127.0.0.1:9000/&region=eu-west-1", Place("s3", "images", "", "http://127.0.0.1:9000", "eu-west-1")),
        ("gs://my.bucket_1", Place("gs", "my.bucket_1")),
    ],
)
def test_urls_of_clouds(url: str, place: Place) -> None:
    assert parse_place(url) == place


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("az://", "names no container or bucket"),
        ("az://A", "names no container or bucket"),
        ("az://images/../other", "a prefix that cannot be used"),
        ("s3://key:s3cret@images", "carries credentials"),
        ("s3://images?secret_access_key=s3cret", "has an option 'secret_access_key'"),
        ("s3://images?region=a b", "region is not valid"),
        ("s3://images?endpoint=ftp://x", "endpoint is no http"),
        ("s3://images?endpoint=http://u:s3cret@x", "endpoint is no http"),
        ("az://images?account=A_B", "account is not valid"),
    ],
)
def test_urls_that_cannot_be_used_are_refused_without_their_secrets(url: str, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_place(url)
    assert said in caught.value.message
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("url", ["images", "ftp://x", "file://relative", "file:///", "file:///x?y=z", "file://host/x", ""])
async def test_what_is_no_store_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        await open_storage(url, {})


def test_a_folder_may_have_blanks() -> None:
    assert str(folder_of("file:///srv/my%20images")) == "/srv/my images"


@pytest.mark.parametrize(
    ("environment", "name", "endpoint", "key", "sas"),
    [
        (
            {"AZURE_STORAGE_ACCOUNT_NAME": "fleet", "AZURE_STORAGE_ACCOUNT_KEY": "k"},
            *("fleet", "https://fleet.blob.core.windows.net", "k", ""),
        ),
        (
            {"AZURE_STORAGE_CONNECTION_STRING": "AccountName=a;AccountKey=k==;EndpointSuffix=core.chinacloudapi.cn;"},
            *("a", "https://a.blob.core.chinacloudapi.cn", "k==", ""),
        ),
        (
            {"AZURE_STORAGE_CONNECTION_STRING": "BlobEndpoint=http://x/a/;AccountName=a;SharedAccessSignature=?sv=1&sig=2"},
            *("a", "http://x/a", "", "sv=1&sig=2"),
        ),
        (
            {"AZURE_STORAGE_CONNECTION_STRING": "UseDevelopmentStorage=true"},
            *("devstoreaccount1", "http://127.0.0.1:10000/devstoreaccount1", AZURITE_KEY, ""),
        ),
    ],
)
def test_azure_accounts_come_from_the_environment(environment: dict[str, str], name: str, endpoint: str, key: str, sas: str) -> None:
    account = azure_account(Place("az", "images"), environment)
    assert (account.name, account.endpoint, account.key, account.sas) == (name, endpoint, key, sas)
    assert not key or key not in repr(account)


async def test_what_is_missing_is_named() -> None:
    with pytest.raises(InvalidInput, match="which storage account") as caught:
        await open_cloud("az://images", {})
    assert "AZURE_STORAGE_CONNECTION_STRING" in caught.value.remedy
    with pytest.raises(InvalidInput, match="no connection string") as caught:
        await open_cloud("az://images", {"AZURE_STORAGE_CONNECTION_STRING": "s3cret"})
    assert "s3cret" not in str(caught.value)


def test_signatures_are_cut_out_of_errors() -> None:
    text = "Error performing GET http://x/c/a?sv=2024&sig=s3cret in 5 ms"
    assert without_secrets(text) == "Error performing GET http://x/c/a?… in 5 ms"


class Cloud(StorageContract):
    kind = ""

    @pytest.fixture
    async def pair(self) -> AsyncIterator[tuple[Storage, Storage]]:
        """Two that are open on one place that did not exist."""
        url, environment = clouds.place(self.kind)
        storage, other = await open_cloud(url, environment), await open_cloud(url, environment)
        yield storage, other
        await storage.close()
        await other.close()

    @pytest.fixture
    def storage(self, pair: tuple[Storage, Storage]) -> Storage:
        return pair[0]

    @pytest.fixture
    def other(self, pair: tuple[Storage, Storage]) -> Storage:
        return pair[1]


class TestAzure(Cloud):
    kind = "az"


class TestS3(Cloud):
    kind = "s3"


@pytest.mark.parametrize("kind", ["az", "s3"])
async def test_an_image_is_pushed_through_one_registry_and_pulled_through_another(kind: str) -> None:
    url, environment = clouds.place(kind)
    large = bytes(range(256)) * 40_000  # two parts
    async with (
        client_of(await open_cloud(url, environment)) as here,
        client_of(await open_cloud(url, environment)) as there,
    ):
        layers = (b"layer", large)
        digest = await here.push_image("apps/web", "1", layers)
        answer = await there.ask("GET", "apps/web/manifests/1")
        assert (answer.status, answer.headers["Docker-Content-Digest"]) == (200, digest)
        for wanted, content in zip(image(layers)["layers"], layers, strict=True):
            got = await there.ask("GET", f"apps/web/blobs/{wanted['digest']}")
            assert got.body == content
        location = await here.begin("apps/web")
        await here.ask("PATCH", location, b"begun here, ")
        whole = b"begun here, finished there"
        finished = await there.ask("PUT", f"{location}?digest={await there.push('other', whole)}", b"finished there")
        assert finished.status == 201


async def test_buckets_are_made_in_the_region_that_is_said() -> None:
    for region in ("us-east-1", "eu-west-3"):
        url, _ = clouds.place("s3")
        storage = await open_cloud(url, clouds.s3().environment(region))
        await storage.put("a", b"x")
        assert await storage.get(["a"]) == [b"x"]


@pytest.mark.parametrize("kind", ["az", "s3"])
async def test_two_that_make_the_same_container_at_once_both_can_use_it(kind: str) -> None:
    url, environment = clouds.place(kind)
    first, second = await asyncio.gather(*(open_cloud(url, environment) for _ in range(2)))
    await first.put("a", b"x")
    assert await second.get(["a"]) == [b"x"]


async def test_a_wrong_key_is_refused_and_told_to_nobody(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    url, environment = clouds.place("az")
    wrong = "d3Jvbmcga2V5IHRoYXQgbm8gbG9nIG1heSBoYXZl"
    text = environment["AZURE_STORAGE_CONNECTION_STRING"].replace(AZURITE_KEY, wrong)
    with pytest.raises(Refused, match="Azure Blob refuses the credentials") as caught:
        await open_cloud(url, {"AZURE_STORAGE_CONNECTION_STRING": text})
    assert wrong not in str(caught.value)
    assert wrong not in caplog.text


async def test_a_cloud_that_does_not_answer_is_told_without_its_secrets() -> None:
    environment = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": clouds.SECRET}
    endpoint = f"http://127.0.0.1:{clouds.free_port()}"
    with pytest.raises(StoreUnavailable, match="s3://images cannot be reached") as caught:
        await open_cloud(f"s3://images?endpoint={endpoint}", environment)
    assert clouds.SECRET not in str(caught.value)
