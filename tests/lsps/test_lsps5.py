"""bLIP 55: its examples, and whose a notification is."""

from __future__ import annotations

import pytest

from tests.support import identity, secret
from tests.support.providers import VECTORS, examples
from triolight.keys import SecretKey
from triolight.lsps import (
    AppNames,
    LspsCode,
    LspsError,
    RemoveWebhook,
    SetWebhook,
    WebhookSet,
    sign_notification,
    verify_notification,
)


def test_the_blips_examples_both_ways() -> None:
    (remove,) = [one for one in examples(5, "app_name") if len(one) == 1]
    for kind, block in (
        (SetWebhook, examples(5, "webhook")[0]),
        (WebhookSet, examples(5, "num_webhooks")[0]),
        (AppNames, examples(5, "app_names")[0]),
        (RemoveWebhook, remove),
    ):
        assert kind.from_json(block).to_json() == block
    SetWebhook.from_json(examples(5, "webhook")[0]).check()


def test_what_a_provider_refuses() -> None:
    url = "https://www.example.org/push"
    SetWebhook(app_name="ü" * 32, webhook="https://" + "x" * 1016).check()
    for name, webhook, code in (
        ("ü" * 33, url, LspsCode.TOO_LONG),
        ("a", "https://" + "x" * 1017, LspsCode.TOO_LONG),
        ("a", "www.example.org", LspsCode.BAD_URL),
        ("a", "https://", LspsCode.BAD_URL),
        ("a", "https://exämple.org", LspsCode.BAD_URL),
        ("a", "https://example.org/a b", LspsCode.BAD_URL),
        ("a", "http://example.org", LspsCode.BAD_PROTOCOL),
    ):
        with pytest.raises(LspsError) as caught:
            SetWebhook(app_name=name, webhook=webhook).check()
        assert caught.value.code == code


def test_a_notification_is_its_providers() -> None:
    at, body = "2023-05-04T10:52:58.395Z", '{"jsonrpc":"2.0","method":"lsps5.goodbye","params":{}}'
    row = VECTORS["signatures"][-1]
    assert row["message"].endswith(body)
    assert verify_notification(bytes.fromhex(row["node_id"]), at, body, row["signature"])
    signature = sign_notification(SecretKey(secret(1)), at, body)
    assert verify_notification(identity(1), at, body, signature)
    assert not verify_notification(identity(2), at, body, signature)
    assert not verify_notification(identity(1), at, body + " ", signature)
    assert not verify_notification(identity(1), at[:-1], body, signature)
