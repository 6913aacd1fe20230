"""bLIP 55, LSPS5: a provider wakes its clients by a webhook. Its parameters and results, and whose a notification is.

The request over HTTP is its receiver's; here is only whether the provider has signed it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from triolight.keys import SecretKey
from triolight.lsps.fields import Count, Flag, Record, Text
from triolight.lsps.rpc import LspsCode, LspsError
from triolight.lsps.signatures import sign_ln_message, verify_ln_signature

__all__ = ["AppNames", "RemoveWebhook", "SetWebhook", "WebhookSet", "sign_notification", "verify_notification"]

MAX_APP_NAME: Final = 64
MAX_WEBHOOK: Final = 1024
"""Bytes of UTF-8, and characters of ASCII, says bLIP 55."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetWebhook(Record):
    """lsps5.set_webhook: where an app hears of what happens."""

    app_name: Text
    webhook: Text

    def check(self) -> None:
        """LspsError, as a provider answers it, for a name or a URL that is too long, or no URL of https."""
        if len(self.app_name.encode()) > MAX_APP_NAME or len(self.webhook) > MAX_WEBHOOK:
            raise LspsError(LspsCode.TOO_LONG)
        scheme, found, rest = self.webhook.partition("://")
        if not found or not rest or not all("!" <= character <= "~" for character in self.webhook):
            raise LspsError(LspsCode.BAD_URL)
        if scheme.lower() != "https":
            raise LspsError(LspsCode.BAD_PROTOCOL)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookSet(Record):
    """lsps5.set_webhook: how many there are now. `no_change`: it was there."""

    num_webhooks: Count
    max_webhooks: Count
    no_change: Flag


@dataclass(frozen=True, slots=True, kw_only=True)
class AppNames(Record):
    """lsps5.list_webhooks: which apps have one."""

    app_names: tuple[Text, ...]
    max_webhooks: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveWebhook(Record):
    """lsps5.remove_webhook: whose."""

    app_name: Text


def _signed(timestamp: str, body: str) -> str:
    return f"LSPS5: DO NOT SIGN THIS MESSAGE MANUALLY: LSP: At {timestamp} I notify {body}"


def verify_notification(node_id: bytes, timestamp: str, body: str, signature: str) -> bool:
    """Whether this provider has signed what a webhook got: the two headers and the body, all as they came.

    How old it may be, and whether it came before, is for whoever has a clock and a memory.
    """
    return verify_ln_signature(node_id, _signed(timestamp, body), signature)


def sign_notification(key: SecretKey, timestamp: str, body: str) -> str:
    """A provider's signature of what it sends."""
    return sign_ln_message(key, _signed(timestamp, body))
