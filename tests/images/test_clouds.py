"""Stores in clouds: their URLs, their secrets, and the whole contract on Azurite and moto's S3."""

from __future__ import annotations

import asyncio
import datetime
import logging
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator

import pytest
from azure.storage.blob import AccountSasPermissions, ResourceTypes, generate_account_sas

from argosy.errors import InvalidInput, Refused, StoreUnavailable
from argosy.images.azure_account import AZURITE_ACCOUNT, AZURITE_KEY, CONNECTION, AzureAccount, azure_account
from argosy.images.clouds import Place, open_cloud, parse_place, without_secrets
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


KEY = "a2V5IHRoYXQgbm9ib2R5IG1heSBzZWU="
SAS = "sv=2022-11-02&ss=b&srt=sco&sp=rwdlacx&sig=a%2Bb%2Fc%3D"
FLEET = "https://fleet.blob.core.windows.net"
NAMED = f"AccountName=fleet;AccountKey={KEY}"
DOCUMENTED = [
    ("an account's key", f"DefaultEndpointsProtocol=https;{NAMED}", FLEET, KEY, ""),
    ("as the portal shows it", f"DefaultEndpointsProtocol=https;{NAMED};EndpointSuffix=core.windows.net", FLEET, KEY, ""),
    ("plain HTTP", f"DefaultEndpointsProtocol=http;{NAMED};", "http://fleet.blob.core.windows.net", KEY, ""),
    ("China", f"{NAMED};EndpointSuffix=core.chinacloudapi.cn", "https://fleet.blob.core.chinacloudapi.cn", KEY, ""),
    ("the US", f"{NAMED};EndpointSuffix=core.usgovcloudapi.net;", "https://fleet.blob.core.usgovcloudapi.net", KEY, ""),
    ("explicit endpoints", f"BlobEndpoint=https://z1.example/;FileEndpoint=https://f/;{NAMED}", "https://z1.example", KEY, ""),
    ("an endpoint and a key alone", f"BlobEndpoint={FLEET};AccountKey={KEY}", FLEET, KEY, ""),
    ("the portal's signature", f"BlobEndpoint={FLEET}/;SharedAccessSignature={SAS}", FLEET, "", SAS),
    ("the portal's, of all services", f"BlobEndpoint={FLEET}/;QueueEndpoint=https://q/;SharedAccessSignature={SAS}", FLEET, "", SAS),
    ("a signature and the account's name", f"SharedAccessSignature=?{SAS};AccountName=fleet;", FLEET, "", SAS),
    ("a signature for an emulator", f"BlobEndpoint=http://[::1]:1/fleet/;SharedAccessSignature={SAS}", "http://[::1]:1/fleet", "", SAS),
    ("any spelling and blanks", f" accountname = fleet ; ACCOUNTKEY = {KEY} ;\n", FLEET, KEY, ""),
]


@pytest.mark.parametrize(("what", "text", "endpoint", "key", "sas"), DOCUMENTED, ids=[row[0] for row in DOCUMENTED])
def test_every_documented_form_of_a_connection_string(what: str, text: str, endpoint: str, key: str, sas: str) -> None:
    account = azure_account({CONNECTION: text})
    assert (account.name, account.endpoint, account.key, account.sas) == ("fleet", endpoint, key, sas)
    assert KEY not in repr(account)
    assert "sig=" not in repr(account)


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("UseDevelopmentStorage=true", "http://127.0.0.1:10000/devstoreaccount1"),
        ("UseDevelopmentStorage=True;DevelopmentStorageProxyUri=http://myProxyUri", "http://myProxyUri:10000/devstoreaccount1"),
    ],
)
def test_the_emulator(text: str, endpoint: str) -> None:
    account = azure_account({CONNECTION: text})
    assert (account.name, account.endpoint, account.key) == (AZURITE_ACCOUNT, endpoint, AZURITE_KEY)


def test_variables_stand_for_a_connection_string_and_line_breaks_of_files_are_no_part_of_them() -> None:
    given = {"AZURE_STORAGE_ACCOUNT_NAME": "fleet\n", "AZURE_STORAGE_ACCOUNT_KEY": f"{KEY}\r\n"}
    assert azure_account(given) == AzureAccount("fleet", "https://fleet.blob.core.windows.net", KEY)
    given = {"AZURE_STORAGE_ACCOUNT": "fleet", "AZURE_STORAGE_SAS_TOKEN": f" ?{SAS}\n"}
    assert azure_account(given, endpoint="https://x.example") == AzureAccount("fleet", "https://x.example", "", SAS)


UNUSABLE = [
    ("no account", "", {}, "which Azure storage account"),
    ("no pairs", "s3cret", {}, "no connection string"),
    ("another service", f"QueueEndpoint=https://q/;SharedAccessSignature={SAS}", {}, "neither BlobEndpoint nor AccountName"),
    ("a key that was cut off", f"AccountName=a;AccountKey={KEY[:-3]}", {}, "has 29 characters, and base64 a multiple of four"),
    ("a key in two lines", f"AccountName=a;AccountKey={KEY[:4]}\n{KEY[4:]}", {}, r"holds '\\n'"),
    ("a quoted key", "", {"AZURE_STORAGE_ACCOUNT": "a", "AZURE_STORAGE_KEY": f"'{KEY}'"}, "AZURE_STORAGE_KEY"),
    ("an endpoint without a scheme", f"BlobEndpoint=fleet.example;SharedAccessSignature={SAS}", {}, "no http:// or https:// URL"),
    ("a signature in the endpoint", f"BlobEndpoint={FLEET}/?{SAS}", {}, "more than an address"),
]


@pytest.mark.parametrize(("what", "text", "more", "said"), UNUSABLE, ids=[row[0] for row in UNUSABLE])
def test_what_cannot_be_used_is_named_and_no_secret_is_told(what: str, text: str, more: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidInput, match=said) as caught:
        azure_account({CONNECTION: text, **more})
    for secret in ("s3cret", KEY, KEY[4:12], "sig="):
        assert secret not in str(caught.value)


@pytest.mark.parametrize("newline", ["", "\n"])
async def test_the_portals_signature_opens_a_container_and_makes_it(newline: str) -> None:
    url, environment = clouds.place("az")
    endpoint = environment[CONNECTION].partition("BlobEndpoint=")[2]
    sas = generate_account_sas(
        AZURITE_ACCOUNT, AZURITE_KEY, ResourceTypes(service=True, container=True, object=True),
        AccountSasPermissions(read=True, write=True, delete=True, list=True, add=True, create=True),
        datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1),
    )  # fmt: skip
    store = await open_cloud(url, {CONNECTION: f"BlobEndpoint={endpoint}/;SharedAccessSignature={sas}{newline}"})
    await store.put("a", b"x")
    assert await store.get(["a"]) == [b"x"]


async def test_a_key_with_the_line_break_of_its_file_opens_a_container() -> None:
    url, environment = clouds.place("az")
    endpoint = environment[CONNECTION].partition("BlobEndpoint=")[2]
    given = {"AZURE_STORAGE_ACCOUNT_NAME": AZURITE_ACCOUNT, "AZURE_STORAGE_ACCOUNT_KEY": f"{AZURITE_KEY}\n"}
    store = await open_cloud(f"{url}?endpoint={endpoint}", given)
    assert await store.get(["a"]) == [None]


async def test_the_libraries_requests_are_not_in_the_log() -> None:
    url, environment = clouds.place("az")
    words = (sys.executable, "-c", "from argosy.cli.main import main; main()", "registry", "--listen", "127.0.0.1:0", "--storage", url)
    process = await asyncio.create_subprocess_exec(*words, env={**os.environ, **environment}, stdout=PIPE, stderr=PIPE)
    assert process.stdout is not None
    async with asyncio.timeout(50):
        assert (await process.stdout.readline()).startswith(b"Serving az://")
        process.terminate()
        _, logged = await process.communicate()
    lines = [line for line in logged.decode().splitlines() if not line.startswith("Stopping")]
    assert [line for line in lines if " argosy." not in line] == []


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
