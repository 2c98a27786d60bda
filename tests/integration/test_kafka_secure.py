"""Kafka that lets nobody in without a certificate it can check and a login."""

from __future__ import annotations

import gc
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from creditledger.domain.store import Unavailable
from creditledger.infra.database import connection_pool
from creditledger.infra.kafka_connection import NoTopic, administrating
from creditledger.infra.kafka_stream import KafkaStream
from creditledger.infra.settings import InvalidSettings, Settings
from kafka_broker import kafka_settings, running_broker, without_kafka
from stream_ends import delivery, ends_of, take

USER, PASSWORD = "ledger", "correct horse"
SCRAM = "SCRAM-SHA-512"

_PLAIN_LOGIN = (
    "org.apache.kafka.common.security.plain.PlainLoginModule required"
    f' username="broker" password="b" user_broker="b" user_{USER}="{PASSWORD}";'
)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an authority, and certificates of it for the broker and for us."""
    if shutil.which("openssl") is None:
        without_kafka("there is no openssl to make certificates with")
    folder = tmp_path_factory.mktemp("certificates")
    openssl(folder, "req", "-x509", *new_key("authority"), "-subj", "/CN=authority")
    for name in ("broker", "ledger"):
        extensions = folder / f"{name}.ext"
        extensions.write_text("subjectAltName=IP:127.0.0.1\n")
        openssl(folder, "req", *new_key(name, out="csr"), "-subj", f"/CN={name}")
        signing = ("-CA", "authority.crt", "-CAkey", "authority.key", "-CAcreateserial")
        files = ("-in", f"{name}.csr", "-out", f"{name}.crt", "-extfile", f"{name}.ext")
        openssl(folder, "x509", "-req", "-days", "2", *signing, *files)
    pair = (folder / "broker.key").read_text() + (folder / "broker.crt").read_text()
    (folder / "broker.pem").write_text(pair)
    return folder


@pytest.fixture(autouse=True)
def no_sockets_left() -> Iterator[None]:
    """kafka-python leaves the socket of a handshake that failed to the garbage collector."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def new_key(name: str, out: str = "crt") -> tuple[str, ...]:
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    return (*key, "-keyout", f"{name}.key", "-out", f"{name}.{out}")


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def secure(certificates: Path) -> Iterator[str]:
    """The address of a broker that asks for a certificate and a login."""
    properties = {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(certificates / "broker.pem"),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(certificates / "authority.crt"),
        "ssl.client.auth": "required",
        "sasl.enabled.mechanisms": f"PLAIN,{SCRAM}",
        "sasl.mechanism.inter.broker.protocol": "PLAIN",
        "listener.name.client.plain.sasl.jaas.config": _PLAIN_LOGIN,
        f"listener.name.client.{SCRAM.lower()}.sasl.jaas.config": (
            "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        ),
        "listener.name.client.ssl.client.auth": "required",
    }
    login = f"{SCRAM}=[name={USER},password={PASSWORD}]"
    with running_broker(protocol="SASL_SSL", properties=properties, scram=login) as broker:
        yield broker.address


def logged_in(address: str, certificates: Path, **others: Any) -> Settings:
    return kafka_settings(
        address,
        **{
            "kafka_security_protocol": "SASL_SSL",
            "kafka_sasl_mechanism": SCRAM,
            "kafka_sasl_username": USER,
            "kafka_sasl_password": SecretStr(PASSWORD),
            "kafka_ssl_ca_file": certificates / "authority.crt",
            "kafka_ssl_cert_file": certificates / "ledger.crt",
            "kafka_ssl_key_file": certificates / "ledger.key",
            **others,
        },
    )


@pytest.mark.parametrize("mechanism", ["PLAIN", SCRAM])
def test_deliveries_pass_with_a_certificate_and_a_login(
    secure: str, certificates: Path, database_url: str, mechanism: str
) -> None:
    settings = logged_in(secure, certificates, kafka_sasl_mechanism=mechanism)
    with (
        connection_pool(database_url, "tests", size=2) as pool,
        ends_of(settings, database_url, pool) as ends,
    ):
        stream = ends()
        stream.put(delivery("evt_1"))
        assert stream.waiting() == 1
        assert take(stream) == ["evt_1"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"kafka_sasl_password": SecretStr("wrong")},
        {"kafka_ssl_ca_file": None},
        {"kafka_ssl_cert_file": None, "kafka_ssl_key_file": None},
        {"kafka_security_protocol": "PLAINTEXT"},
    ],
    ids=["password", "authority", "no certificate", "protocol"],
)
def test_nobody_else_gets_in(
    secure: str, certificates: Path, database_url: str, wrong: dict[str, Any]
) -> None:
    settings = logged_in(secure, certificates, **wrong)
    with connection_pool(database_url, "tests", size=2) as pool:
        stream = KafkaStream(settings, database_url, pool)
        with pytest.raises(Unavailable):
            stream.put(delivery("evt_1"))
        stream.close()


def test_a_login_that_is_asked_for_and_not_said_is_named(database_url: str) -> None:
    settings = kafka_settings("127.0.0.1:1", kafka_security_protocol="SASL_SSL")
    with connection_pool(database_url, "tests", size=1) as pool:
        stream = KafkaStream(settings, database_url, pool)
        with pytest.raises(InvalidSettings) as refused:
            stream.require_topics()
    for name in ("MECHANISM", "USERNAME", "PASSWORD"):
        assert f"CREDITLEDGER_KAFKA_SASL_{name}" in str(refused.value)


class TestTopics:
    def test_a_topic_that_may_not_be_created_is_asked_for(
        self, kafka: str, database_url: str
    ) -> None:
        settings = kafka_settings(kafka, kafka_create_topics=False)
        with connection_pool(database_url, "tests", size=1) as pool:
            stream = KafkaStream(settings, database_url, pool)
            with pytest.raises(NoTopic, match=rf"{settings.kafka_webhooks_topic} is missing"):
                stream.require_topics()
            with pytest.raises(Unavailable, match="is missing"):
                stream.put(delivery("evt_1"))

    def test_a_topic_that_cannot_be_created_says_why(self, kafka: str, database_url: str) -> None:
        settings = kafka_settings(kafka, kafka_replication=3)
        with connection_pool(database_url, "tests", size=1) as pool:
            stream = KafkaStream(settings, database_url, pool)
            with pytest.raises(NoTopic, match="CREDITLEDGER_KAFKA_REPLICATION"):
                stream.require_topics()

    def test_a_topic_is_created_as_it_is_set_and_then_left_alone(
        self, kafka: str, database_url: str
    ) -> None:
        settings = kafka_settings(kafka, kafka_webhooks_partitions=5)
        for partitions in (5, 7):
            again = settings.model_copy(update={"kafka_webhooks_partitions": partitions})
            with connection_pool(database_url, "tests", size=1) as pool:
                KafkaStream(again, database_url, pool).require_topics()
        assert partitions_of(settings) == 5


def partitions_of(settings: Settings) -> int:
    with administrating(settings) as admin:
        [topic] = admin.describe_topics([settings.kafka_webhooks_topic])
    return len(topic["partitions"])
