# ruff: noqa: PT012, S608 (what is rolled back is several statements; the SQL has constants)
"""Who deleted, on whose request and why: recorded with each deletion, and with no other."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import AnonymousUser, User
from django.db import connection, connections, transaction
from django.db.migrations.state import ModelState, StateApps
from django.http import HttpResponse
from django.test import RequestFactory
from django.utils.functional import SimpleLazyObject

from apps.integrity import capture
from apps.integrity.backends import log_backend
from apps.integrity.backends.postgresql.triggers.telling import SAY, Teller
from apps.integrity.capture import middleware, stating, triggers
from apps.integrity.exceptions import InvalidBecause
from apps.integrity.models import Deletion, Suspect
from tests.kinds.lite.models import Author
from tests.kinds.parents.models import Owner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import Captured, Tune

pytestmark = pytest.mark.usefixtures("committed")

DSR = {"actor": "support:12", "reference": "DSR-123", "reason": "asked for by letter"}
STATED = ("support:12", "DSR-123", "asked for by letter")
NOTHING = ("", "", "")
DELETE = "DELETE FROM parents_owner WHERE id = %s"


class Oops(Exception):
    pass


def stated(using: str = "default") -> list[tuple[str, str, str]]:
    rows = Deletion.objects.using(using).order_by("pk")
    return list(rows.values_list("actor", "reference", "because"))


def owner() -> Owner:
    return Owner.objects.create()


def sql(statement: str, *params: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, params)


@pytest.fixture(params=["signal", "trigger", "both"])
def mode(request: pytest.FixtureRequest, tune: Tune, committed: None) -> Iterator[str]:
    if connection.vendor != "postgresql":
        if request.param != "signal":
            pytest.skip("no triggers there")
        yield "signal"
        return
    tune(capture={"parents.Owner": request.param})
    triggers.install("default")
    yield request.param
    tune(capture="signal")
    triggers.install("default")


@pytest.fixture
def triggered(tune: Tune, committed: None) -> Iterator[None]:
    tune(capture={"parents.Owner": "trigger"})
    triggers.install("default")
    yield
    tune(capture="signal")
    triggers.install("default")


@pytest.mark.usefixtures("mode")
class TestEachWay:
    def test_an_instance(self) -> None:
        with capture.because(**DSR):
            owner().delete()
        owner().delete()
        assert stated() == [STATED, NOTHING]

    def test_a_queryset_of_many(self) -> None:
        Owner.objects.bulk_create(Owner() for _ in range(2_500))
        with capture.because(**DSR):
            Owner.objects.all().delete()
        assert stated() == [STATED] * 2_500

    def test_a_model_of_a_migration(self) -> None:
        historical = StateApps([], {("parents", "owner"): ModelState.from_model(Owner)})
        one = owner()
        with capture.because(**DSR):
            historical.get_model("parents", "owner").objects.filter(pk=one.pk).delete()
        assert stated() == [STATED]

    def test_a_recorded_one(self) -> None:
        key = owner().pk
        with capture.because(**DSR), transaction.atomic():
            Owner.objects.filter(pk=key)._raw_delete("default")
            capture.record((Owner, [key]), using="default")
        assert stated() == [STATED]

    def test_inside_and_outside_in_one_transaction(self) -> None:
        with transaction.atomic():
            owner().delete()
            with capture.because(**DSR):
                owner().delete()
            owner().delete()
            with capture.because(reference="DSR-124"):
                owner().delete()
        assert stated() == [NOTHING, STATED, NOTHING, ("", "DSR-124", "")]

    def test_a_block_inside_another_replaces_what_it_names(self) -> None:
        with capture.because(**DSR):
            with capture.because(reference="DSR-124", actor="clerk:1"):
                owner().delete()
            with transaction.atomic(), capture.because(reason="twice"):
                owner().delete()
            owner().delete()
        assert stated() == [
            ("clerk:1", "DSR-124", "asked for by letter"),
            ("support:12", "DSR-123", "twice"),
            STATED,
        ]

    def test_what_is_rolled_back_is_not_stated_of_the_next(self) -> None:
        with pytest.raises(Oops), capture.because(**DSR), transaction.atomic():
            owner().delete()
            raise Oops
        owner().delete()
        assert stated() == [NOTHING]

    def test_a_savepoint_that_is_rolled_back(self) -> None:
        with transaction.atomic():
            with capture.because(**DSR):
                with pytest.raises(Oops), transaction.atomic():
                    owner().delete()
                    raise Oops
                owner().delete()
            with pytest.raises(Oops), transaction.atomic():
                owner().delete()  # here the trigger is told that nothing is stated
                raise Oops
            owner().delete()
        assert stated() == [STATED, NOTHING]


@pytest.mark.postgresql
@pytest.mark.usefixtures("triggered")
class TestTriggers:
    def test_raw_sql_in_a_transaction_and_alone(self) -> None:
        one, two, three = owner(), owner(), owner()
        with capture.because(**DSR):
            with transaction.atomic():
                sql(DELETE, one.pk)
            sql(DELETE, two.pk)
        sql(DELETE, three.pk)
        assert stated() == [STATED, STATED, NOTHING]

    def test_other_statements_that_delete(self) -> None:
        one, two, three = owner(), owner(), owner()
        with capture.because(**DSR):
            sql(f"WITH gone AS ({DELETE} RETURNING id) SELECT id FROM gone", one.pk)
            sql(f"DO 'BEGIN DELETE FROM parents_owner WHERE id = {two.pk}; END'")
            with transaction.atomic():
                sql(f"DO 'BEGIN DELETE FROM parents_owner WHERE id = {three.pk}; END'")
        assert stated() == [STATED, NOTHING, STATED]  # DO may end a transaction: it gets none

    def test_one_more_statement_in_a_transaction(self, captured: Captured) -> None:
        rows = [owner() for _ in range(4)]
        with captured, transaction.atomic(), capture.because(**DSR):
            for each in rows:
                sql(DELETE, each.pk)
        assert len([one for one in captured["default"] if "set_config" in one]) == 1
        assert stated() == [STATED] * 4

    def test_none_where_nothing_is_stated_or_deleted(self, captured: Captured) -> None:
        with capture.because(**DSR):
            owner().delete()
        with captured:
            with transaction.atomic():
                owner().delete()
            with capture.because(**DSR), transaction.atomic():
                owner()
            with middleware_of_nobody():
                owner().delete()
        assert not [one for one in captured["default"] if "set_config" in one]

    def test_a_connection_that_is_opened_inside(self) -> None:
        key = owner().pk
        connection.close()
        with capture.because(**DSR):
            sql(DELETE, key)
        assert stated() == [STATED]

    def test_any_role_may_set_more_than_the_log_can_hold(self) -> None:
        key = owner().pk
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(SAY, ["\x1b" + "x" * 300, "", "y" * 900, "9" * 40])
            cursor.execute(DELETE, [key])
        [row] = Deletion.objects.all()
        assert len(row.actor) <= 200
        assert row.actor.startswith("\\x1bxxx")
        assert len(row.because) == 500

    def test_signals_alone_need_no_wrapper(self, tune: Tune) -> None:
        assert any(isinstance(each, Teller) for each in connection.execute_wrappers)
        tune(capture="signal")
        assert not any(isinstance(each, Teller) for each in connection.execute_wrappers)


def middleware_of_nobody() -> Any:
    request = RequestFactory().get("/")
    request.user = AnonymousUser()
    return stating.from_request(request)


class TestCost:
    @pytest.mark.parametrize("number", [1, 3])
    def test_it_goes_with_the_insert(self, number: int, captured: Captured) -> None:
        counts = []
        for says in (False, True):
            Owner.objects.bulk_create(Owner() for _ in range(number))
            with captured:
                if says:
                    with capture.because(**DSR):
                        Owner.objects.all().delete()
                else:
                    Owner.objects.all().delete()
            counts.append(len(captured["default"]))
            [insert] = captured.inserts()
            assert ("reference" in insert) is says
            captured.clear()
        assert counts[0] == counts[1]

    def test_other_engines(self) -> None:
        with capture.because(**DSR):
            Author.objects.create().delete()
        Author.objects.create().delete()
        assert stated("test_lite") == [STATED, NOTHING]


class TestWhereItHolds:
    def test_a_thread_has_its_own(self) -> None:
        mine, theirs = owner(), owner()

        def run() -> None:
            try:
                with capture.because(reference="theirs"):
                    barrier.wait(10)
                    theirs.delete()
                    barrier.wait(10)
            finally:
                connections.close_all()

        barrier = threading.Barrier(2)
        thread = threading.Thread(target=run)
        thread.start()
        with capture.because(reference="mine"):
            barrier.wait(10)
            barrier.wait(10)
            mine.delete()
        thread.join(10)
        assert stated() == [("", "theirs", ""), ("", "mine", "")]

    def test_a_task_has_its_own(self, mode: str) -> None:
        rows = {f"task {n}": owner().pk for n in range(8)}

        async def erase(reference: str, key: int) -> None:
            with capture.because(reference=reference):
                await asyncio.sleep(0.01 * (key % 3))
                await Owner.objects.filter(pk=key).adelete()
                await asyncio.sleep(0.01 * (key % 2))

        async def both() -> None:
            await asyncio.gather(*(erase(*each) for each in rows.items()))
            await sync_to_async(connections.close_all)()

        asyncio.run(both())
        found = dict(Deletion.objects.values_list("key", "reference"))
        assert found == {str(key): reference for reference, key in rows.items()}

    def test_what_a_scan_finds_has_none(self) -> None:
        one = Suspect.objects.create(parent="auth.User", relation="blog.Post.author", value="7")
        with capture.because(**DSR):
            log_backend("default").insert_confirmed([one.pk], using="default")
        assert list(Deletion.objects.values_list("source", flat=True)) == ["scan"]
        assert stated() == [NOTHING]

    def test_a_block_that_a_generator_leaves_open(self) -> None:
        def rows() -> Iterator[None]:
            with capture.because(reference="inside"):
                yield

        with capture.because(reference="outside"):
            left = rows()
            next(left)
        owner().delete()
        left.close()
        owner().delete()
        assert stated() == [NOTHING, NOTHING]

    def test_a_block_is_used_once(self) -> None:
        block = capture.because(**DSR)
        with block:
            pass
        with pytest.raises(RuntimeError), block:
            pass


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        "given",
        [
            {},
            {"actor": "", "reference": "  "},
            {"actor": 7},
            {"actor": AnonymousUser()},
            {"actor": User(username="ada")},
            {"actor": "x" * 201},
            {"reference": "x" * 201},
            {"reference": None},
            {"reason": "x" * 501},
            {"reason": "two\nlines"},
            {"reason": "a\x00b"},
            {"reference": "a\x1b[2Jb"},
            {"reference": "a\u202eb"},
            {"reference": "a\u3164b"},
            {"reason": "\ud800"},
        ],
    )
    def test_before_anything_is_deleted(self, given: dict[str, Any]) -> None:
        one = owner()
        with pytest.raises(InvalidBecause) as caught, capture.because(**given):
            one.delete()
        assert Owner.objects.count() == 1
        assert "capture.because()" in str(caught.value)
        assert str(caught.value).isprintable()

    def test_the_message_quotes_nothing(self) -> None:
        with pytest.raises(InvalidBecause) as caught:
            capture.because(reason="ada@example.org " * 50)
        assert "ada" not in str(caught.value)

    def test_the_longest_and_spaces(self) -> None:
        with capture.because(actor="é" * 200, reference=" DSR  1 ", reason="ß" * 500):
            owner().delete()
        assert stated() == [("é" * 200, "DSR 1", "ß" * 500)]


class TestWho:
    def request(self, user: object) -> Any:
        request = RequestFactory().post("/")
        request.user = user  # type: ignore[assignment]  # any model
        return request

    def answer(self, _request: object) -> HttpResponse:
        owner().delete()
        return HttpResponse()

    def test_a_user_is_their_model_and_key(self) -> None:
        ada = User.objects.create(username="ada")
        with capture.because(actor=ada):
            owner().delete()
        with capture.because(actor=SimpleLazyObject(lambda: ada)):
            owner().delete()
        assert [actor for actor, _, _ in stated()] == [f"auth.User:{ada.pk}"] * 2

    def test_the_middleware(self) -> None:
        ada = User.objects.create(username="ada")
        answer = middleware.actor(self.answer)
        answer(self.request(ada))
        answer(self.request(AnonymousUser()))
        answer(RequestFactory().get("/"))
        owner().delete()
        assert [actor for actor, _, _ in stated()] == [f"auth.User:{ada.pk}", "", "", ""]

    def test_it_reads_the_user_when_something_is_deleted(self) -> None:
        ada, reads = User.objects.create(username="ada"), list[int]()

        def read() -> User:
            reads.append(1)
            return ada

        def answer(request: Any) -> HttpResponse:
            if request.method == "POST":
                owner().delete()
                owner().delete()
            return HttpResponse()

        middleware.actor(answer)(self.request(SimpleLazyObject(read)))
        assert reads == [1]
        request = RequestFactory().get("/")
        request.user = SimpleLazyObject(read)  # type: ignore[assignment]  # as Django does
        middleware.actor(answer)(request)
        assert reads == [1]

    def test_what_the_view_states_comes_first(self) -> None:
        def answer(_request: object) -> HttpResponse:
            with capture.because(reference="DSR-123"):
                owner().delete()
            with capture.because(actor="support:12"):
                owner().delete()
            return HttpResponse()

        ada = User.objects.create(username="ada")
        middleware.actor(answer)(self.request(ada))
        assert stated() == [(f"auth.User:{ada.pk}", "DSR-123", ""), ("support:12", "", "")]

    def test_in_an_asynchronous_stack(self) -> None:
        ada = User.objects.create(username="ada")

        async def answer(_request: object) -> HttpResponse:
            await Owner.objects.filter(pk=one.pk).adelete()
            return HttpResponse()

        async def run() -> None:
            await middleware.actor(answer)(self.request(ada))
            await sync_to_async(connections.close_all)()

        one = owner()
        asyncio.run(run())
        assert [actor for actor, _, _ in stated()] == [f"auth.User:{ada.pk}"]

    def test_a_user_who_deletes_themselves(self, converge: Callable[[], Any]) -> None:
        ada = User.objects.create(username="ada")
        key = ada.pk

        def answer(request: Any) -> HttpResponse:
            request.user.delete()
            owner().delete()
            return HttpResponse()

        middleware.actor(answer)(self.request(ada))
        assert [actor for actor, _, _ in stated()] == [f"auth.User:{key}"] * 2
