"""Requests in flight: whose an answer is, and what is nobody's."""

from __future__ import annotations

import json

import pytest

from tests.support.providers import BOMBS, said
from triolight.lsps import Answer, Notification
from triolight.lsps.asking import REMEMBERED, REMEMBERED_SECONDS, Asking


class Asked:
    """Requests, and what they get."""

    def __init__(self) -> None:
        self.drawn = 0
        self.asking = Asking(self._random)
        self.answers: list[Answer] = []

    def _random(self, count: int) -> bytes:
        self.drawn += 1
        return self.drawn.to_bytes(count, "big")

    def ask(self) -> str:
        number, payload = self.asking.ask("a.b", {"c": 1}, self.answers.append)
        found = json.loads(payload)
        assert found == {"jsonrpc": "2.0", "id": number, "method": "a.b", "params": {"c": 1}}
        return number

    def counted(self) -> dict[str, int]:
        statistics = self.asking.statistics()
        return {name: count for name in statistics.__dataclass_fields__ if (count := getattr(statistics, name))}


def test_answers_come_in_any_order_each_once() -> None:
    asked = Asked()
    first, second = asked.ask(), asked.ask()
    assert first != second
    assert len(asked.asking) == 2
    for number in (second, first, first, "strange"):
        assert asked.asking.read(said(id=number, result={"n": number}), 0) is None
    assert [one.result for one in asked.answers] == [{"n": second}, {"n": first}]
    assert asked.counted() == {"requests": 2, "answers": 2, "unknown": 2}


def test_what_is_no_answer_ends_nothing() -> None:
    asked = Asked()
    number = asked.ask()
    for payload in BOMBS.values():
        assert asked.asking.read(payload, 0) is None
    assert asked.asking.read(said(id=number, result={}, error={"code": 1}), 0) is None
    assert asked.asking.read(said(id=None, error={"code": -32700}), 0) is None
    note = asked.asking.read(said(method="lsps5.x", params={"a": 1}), 0)
    assert note == Notification("lsps5.x", {"a": 1})
    assert asked.counted() == {"requests": 1, "bad": len(BOMBS) + 1, "unread": 1, "notifications": 1}
    asked.asking.read(said(id=number, error={"code": 7}), 0)
    (answer,) = asked.answers
    assert answer.error is not None


def test_what_is_forgotten_comes_late_and_no_more_is_remembered() -> None:
    asked = Asked()
    numbers = [asked.ask() for _ in range(REMEMBERED + 2)]
    for number in numbers:
        asked.asking.forget(number, 0)
        asked.asking.forget(number, 0)
    assert len(asked.asking) == 0
    for number in (numbers[0], numbers[1]):
        asked.asking.read(said(id=number, result={}), 1)
    for number in (numbers[2], numbers[2], numbers[3]):
        asked.asking.read(said(id=number, result={}), REMEMBERED_SECONDS)
    asked.asking.read(said(id=numbers[4], result={}), REMEMBERED_SECONDS + 1)
    assert asked.answers == []
    assert asked.counted() == {"requests": REMEMBERED + 2, "unknown": 4, "late": 2}


def test_what_cannot_be_asked_is_not_in_flight() -> None:
    asked = Asked()
    with pytest.raises(ValueError, match="65533 bytes"):
        asked.asking.ask("a.b", {"c": "x" * 65_533}, asked.answers.append)
    assert len(asked.asking) == 0
    assert asked.counted() == {}
