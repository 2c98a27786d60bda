"""Whose signature counts: secrets that rotate, five minutes, and junk that is no signature."""

from __future__ import annotations

import base64

import pytest

from creditledger.infra.signatures import Unreadable, Unsigned, verify
from provider_bodies import body, legacy_key, polar_headers, standard_key, stripe_headers

BODY = body("stripe.customer.created.linked")
OLD, NEW, OTHER = "whsec_0ld", "whsec_new", "whsec_other"

STANDARD = "whsec_" + base64.b64encode(bytes(range(24, 56))).decode()
LEGACY = "polar_whs_Wb7rT0qkZ4mXs2"
LEGACY_LIKE_STANDARD = "whsec_9dQpTz3RkWm5VxB1sNcYe8LrUhJfKiOg2XqZtAnMvCw"
#: A secret whose text is no base64 at all, as a merchant may choose it.
CHOSEN = "ünser geheimnis!"


def refused(provider: str, content: bytes, headers: dict[str, str], *secrets: str) -> str:
    with pytest.raises(Unsigned) as unsigned:
        verify(provider, content, headers, secrets)
    return str(unsigned.value)


class TestStripe:
    def test_any_of_several_secrets_will_do(self) -> None:
        for signing in (OLD, NEW):
            verify("stripe", BODY, stripe_headers(BODY, signing), [NEW, OLD])

    def test_while_a_secret_is_rolled_there_are_two_signatures(self) -> None:
        for known in (OLD, NEW):
            verify("stripe", BODY, stripe_headers(BODY, NEW, OLD), [known])

    @pytest.mark.parametrize("age", [0, 298, -3600])
    def test_a_signature_may_be_five_minutes_old_or_of_the_future(self, age: int) -> None:
        verify("stripe", BODY, stripe_headers(BODY, OLD, age=age), [OLD])

    def test_an_older_one_is_refused(self) -> None:
        refused("stripe", BODY, stripe_headers(BODY, OLD, age=302), OLD)

    def test_another_secret_is_refused(self) -> None:
        refused("stripe", BODY, stripe_headers(BODY, OTHER), OLD, NEW)

    def test_without_secrets_everything_is_refused(self) -> None:
        refused("stripe", BODY, stripe_headers(BODY, OLD))

    def test_a_changed_body_is_refused(self) -> None:
        refused("stripe", BODY + b" ", stripe_headers(BODY, OLD), OLD)

    def test_another_scheme_is_refused(self) -> None:
        refused("stripe", BODY, stripe_headers(BODY, OLD, scheme="v0"), OLD)

    def test_what_is_missing_is_named(self) -> None:
        assert "Stripe-Signature" in refused("stripe", BODY, {}, OLD)

    @pytest.mark.parametrize(
        "header",
        [
            "t=,v1=",
            "v1=abc",
            "t=x,v1=y",
            "t=1" + "0" * 5000 + ",v1=ab",
            "t=1700000000,v1=é",
            ",,,=",
            "t=99999999999999999999,v1=00",
            "\x00",
        ],
    )
    def test_junk_is_refused(self, header: str) -> None:
        refused("stripe", BODY, {"stripe-signature": header}, OLD)

    def test_a_body_that_is_no_text_is_no_providers(self) -> None:
        content = b"\xff\xfe{}"
        with pytest.raises(Unreadable):
            verify("stripe", content, stripe_headers(content, OLD), [OLD])


class TestPolar:
    @pytest.mark.parametrize(
        ("secret", "key"),
        [
            (STANDARD, standard_key(STANDARD)),
            (LEGACY, legacy_key(LEGACY)),
            (LEGACY_LIKE_STANDARD, legacy_key(LEGACY_LIKE_STANDARD)),
            (CHOSEN, legacy_key(CHOSEN)),
        ],
    )
    def test_both_kinds_of_secret_count(self, secret: str, key: bytes) -> None:
        verify("polar", BODY, polar_headers(BODY, key), [OTHER, secret])

    def test_one_of_two_signatures_will_do(self) -> None:
        headers = polar_headers(BODY, standard_key(STANDARD), legacy_key(LEGACY))
        for known in (STANDARD, LEGACY):
            verify("polar", BODY, headers, [known])

    @pytest.mark.parametrize("age", [298, -290])
    def test_five_minutes_either_way_are_fine(self, age: int) -> None:
        verify("polar", BODY, polar_headers(BODY, legacy_key(LEGACY), age=age), [LEGACY])

    @pytest.mark.parametrize("age", [302, -310])
    def test_more_is_refused(self, age: int) -> None:
        refused("polar", BODY, polar_headers(BODY, legacy_key(LEGACY), age=age), LEGACY)

    def test_another_secret_is_refused(self) -> None:
        refused("polar", BODY, polar_headers(BODY, legacy_key(OTHER)), STANDARD, LEGACY)

    def test_the_id_is_signed_too(self) -> None:
        headers = polar_headers(BODY, legacy_key(LEGACY), webhook_id="a") | {"webhook-id": "b"}
        refused("polar", BODY, headers, LEGACY)

    def test_another_version_is_refused(self) -> None:
        refused("polar", BODY, polar_headers(BODY, legacy_key(LEGACY), version="v1a"), LEGACY)

    @pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
    def test_what_is_missing_is_named(self, name: str) -> None:
        headers = polar_headers(BODY, legacy_key(LEGACY))
        del headers[name]
        assert name in refused("polar", BODY, headers, LEGACY)

    @pytest.mark.parametrize(
        "signature",
        ["v1", "v1,", "v1,%%%", "v1,a", "v1,é", "a,b,c", ",", "v1,AAAA v1,AAAA", "\x00"],
    )
    def test_junk_is_refused(self, signature: str) -> None:
        headers = polar_headers(BODY, legacy_key(LEGACY)) | {"webhook-signature": signature}
        refused("polar", BODY, headers, LEGACY)

    def test_junk_beside_a_signature_does_no_harm(self) -> None:
        headers = polar_headers(BODY, legacy_key(LEGACY))
        headers["webhook-signature"] = "junk v2,x " + headers["webhook-signature"]
        verify("polar", BODY, headers, [LEGACY])

    @pytest.mark.parametrize("at", ["soon", "", "1e400", "nan", "9" * 400, "-1"])
    def test_a_time_that_is_none_is_refused(self, at: str) -> None:
        headers = polar_headers(BODY, legacy_key(LEGACY)) | {"webhook-timestamp": at}
        refused("polar", BODY, headers, LEGACY)

    def test_a_body_that_is_no_text_is_no_providers(self) -> None:
        content = b"\xff\xfe{}"
        with pytest.raises(Unreadable):
            verify("polar", content, polar_headers(content, legacy_key(LEGACY)), [LEGACY])
