"""`Webhook`: a service over HTTP erases what it is told, and states it."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

import pytest

from apps.integrity.contrib.erasure import Webhook, signing
from apps.integrity.erasure import Found
from apps.integrity.exceptions import InvalidSetting, NotErased
from tests import erasure_service
from tests.erasure_service import SECRET
from tests.kinds.filed.models import Attachment
from tests.kinds.parents.models import Sender

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_django.fixtures import Settings

    from tests.erasure_service import ErasureService

ITEMS = [{"model": "shop.Order", "field": "pk", "value": key} for key in range(1, 6)]

OPTIONS = {
    "name": "crm",
    "secret_setting": "CRM_SECRET",
    "timeout_seconds": 1.0,
    "models": {"shop.Order": "pk"},
}


@pytest.fixture
def service(settings: Settings) -> Iterator[ErasureService]:
    settings.CRM_SECRET = SECRET
    with erasure_service.running() as running:
        running.held |= {*range(1, 9)}
        yield running


def step(service: ErasureService, **values: Any) -> Webhook:
    return Webhook(**{**OPTIONS, "url": service.url, **values})


class TestErase:
    def test_the_request_is_signed_and_holds_ids_alone(self, service: ErasureService) -> None:
        step(service).erase(ITEMS)
        assert service.held == {6, 7, 8}
        ((headers, message),) = service.calls
        assert message == {"version": 1, "step": "crm", "purpose": "erase", "items": ITEMS}
        assert len(headers[signing.KEY]) == 64

    def test_the_same_items_have_the_same_key(self, service: ErasureService) -> None:
        crm = step(service, items_max=2)
        crm.erase(ITEMS)
        crm.erase(ITEMS)
        keys = [headers[signing.KEY] for headers, _ in service.calls]
        assert keys[:3] == keys[3:]
        assert len({*keys}) == 3

    def test_a_wrong_secret_is_refused(self, service: ErasureService, settings: Settings) -> None:
        settings.CRM_SECRET = "another"
        with pytest.raises(NotErased, match=r"127\.0\.0\.1 answered 403"):
            step(service).erase(ITEMS)
        assert service.unsigned == 1

    @pytest.mark.parametrize("status", [301, 302, 400, 404, 410, 429, 500, 503])
    def test_anything_but_a_success_is_a_failure(
        self, service: ErasureService, status: int
    ) -> None:
        service.status = status
        with pytest.raises(NotErased, match=f"answered {status}"):
            step(service).erase(ITEMS)

    def test_a_redirect_is_not_followed(self, service: ErasureService) -> None:
        service.status, service.headers = 302, {"Location": f"{service.url}elsewhere"}
        with pytest.raises(NotErased, match="answered 302"):
            step(service).erase(ITEMS)
        assert len(service.calls) == 1

    def test_a_success_that_denies_is_a_failure(self, service: ErasureService) -> None:
        service.answer = {"erased": False}
        with pytest.raises(NotErased, match="answers that data is left"):
            step(service).erase(ITEMS)

    def test_a_service_that_does_not_answer(self, service: ErasureService) -> None:
        service.delay_seconds = 8.0
        begin = time.monotonic()
        with pytest.raises(NotErased, match="TimeoutError"):
            step(service, timeout_seconds=0.2).erase(ITEMS)
        assert time.monotonic() - begin < 6

    def test_nobody_listens(self, service: ErasureService) -> None:
        crm = step(service, url="http://127.0.0.1:1/")
        with pytest.raises(NotErased, match=r"127\.0\.0\.1 cannot be reached: ConnectionRefused"):
            crm.erase(ITEMS)
        with pytest.raises(NotErased):
            crm.probe(ITEMS)


class TestConfiguration:
    @pytest.mark.parametrize(
        "url", ["http://crm.example/", "ftp://127.0.0.1/", "", "https://a:b@crm.example/"]
    )
    def test_only_https_leaves_the_machine(self, service: ErasureService, url: str) -> None:
        with pytest.raises(ValueError, match="takes https"):
            step(service, url=url)
        with pytest.raises(ValueError, match="takes https"):
            step(service, probe_url=url or "http://")

    def test_a_secret_is_needed(self, service: ErasureService) -> None:
        with pytest.raises(InvalidSetting, match="secret_setting is 'NO_SECRET'"):
            step(service, secret_setting="NO_SECRET").erase(ITEMS)
        assert not service.calls

    def test_the_secret_is_in_no_log(
        self, service: ErasureService, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        service.status = 500
        crm = step(service)
        with pytest.raises(NotErased) as raised:
            crm.erase(ITEMS)
        assert SECRET not in f"{caplog.text}{raised.value}{crm}{vars(crm)}"

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"models": {}}, "models is empty"),
            ({"models": {"shop.Nothing": "pk"}}, "models: App 'shop' doesn't have a 'Nothing'"),
            ({"models": {"shop.Order": "crm_id"}}, "models: Order has no field named 'crm_id'"),
            ({"models": {"shop.order": "pk"}}, "models: 'shop.order' is 'shop.Order'"),
            ({"secret_setting": ""}, "secret_setting is empty"),
        ],
    )
    def test_options_that_cannot_be_used(
        self, service: ErasureService, options: Any, message: str
    ) -> None:
        with pytest.raises(ValueError, match=message):
            step(service, **options)

    @pytest.mark.parametrize("name", ["secret", "call", "has_probe", "_parts"])
    def test_an_unknown_option(self, service: ErasureService, name: str) -> None:
        with pytest.raises(TypeError, match=f"'{name}' is no option; known: .*probe_url"):
            step(service, **{name: ""})


class TestProbe:
    @pytest.mark.parametrize(
        ("status", "answer", "trusted", "found"),
        [
            (200, {"erased": True}, False, Found.NONE),
            (200, {"left": 0}, False, Found.NONE),
            (200, {"left": 2}, True, Found.SOME),
            (200, {"erased": False}, True, Found.SOME),
            (200, {"left": None}, True, Found.UNKNOWN),
            (200, {"ok": True}, False, Found.UNKNOWN),
            (200, {"ok": True}, True, Found.NONE),
            (204, {}, False, Found.UNKNOWN),
            (204, {}, True, Found.NONE),
            (202, {"erased": True}, True, Found.UNKNOWN),
        ],
    )
    def test_without_a_url_the_repeated_request_is_the_evidence(
        self,
        service: ErasureService,
        status: int,
        answer: Any,
        trusted: bool,  # noqa: FBT001
        found: Found,
    ) -> None:
        service.status, service.answer = status, answer
        assert step(service, success_is_proof=trusted).probe(ITEMS) is found

    def test_a_url_for_probes_counts_what_is_left(self, service: ErasureService) -> None:
        crm = step(service, probe_url=f"{service.url}left", success_is_proof=True)
        assert crm.probe(ITEMS) is Found.SOME
        crm.erase(ITEMS)
        assert crm.probe(ITEMS) is Found.NONE
        assert [message["purpose"] for _, message in service.calls] == ["probe", "erase", "probe"]

    def test_what_a_service_does_not_state_is_unknown_unless_the_project_says_so(
        self, service: ErasureService
    ) -> None:
        service.status = 204
        assert step(service).probe(ITEMS) is Found.UNKNOWN

    def test_a_probe_that_fails_says_why(self, service: ErasureService) -> None:
        service.status = 500
        with pytest.raises(NotErased, match="answered 500"):
            step(service, success_is_proof=True).probe(ITEMS)

    def test_a_probe_that_does_not_count_is_unknown(self, service: ErasureService) -> None:
        # The URL of the erasure in place of that for probes.
        crm = step(service, probe_url=service.url, success_is_proof=True)
        assert crm.probe(ITEMS) is Found.UNKNOWN


@pytest.mark.usefixtures("committed")
def test_ids_of_rows_are_collected_once(service: ErasureService) -> None:
    sender = Sender.objects.create()
    rows = [Attachment.objects.create(sender=sender) for _ in range(3)]
    crm = step(service, models={"filed.Attachment": "sender_id"})
    assert crm.covers(Attachment)
    assert not crm.covers(Sender)
    keys = [row.pk for row in rows]
    assert list(crm.collect(Attachment.objects.filter(pk__in=keys))) == [
        {"model": "filed.Attachment", "field": "sender_id", "value": sender.pk}
    ]


def test_all_ids_arrive_though_one_call_in_twenty_fails(service: ErasureService) -> None:
    service.held, service.fails_each = {*range(3_000)}, 20
    crm = step(service, items_max=50)
    waiting = [
        [{"model": "shop.Order", "field": "pk", "value": key} for key in range(first, first + 50)]
        for first in range(0, 3_000, 50)
    ]
    while waiting:
        items = waiting.pop(0)
        try:
            crm.erase(items)
        except NotErased:
            waiting.append(items)
    assert service.held == set()
    assert service.failed >= 3
