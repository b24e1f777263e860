"""Steps that ask another service to erase what it holds, and what its answers prove.

Note [What an answer proves]: that a call succeeded says that the service took it, and not that it
has erased anything. So only what the service states counts as zero: `{"left": 0}`, or `{"erased":
true}` as the answer to a request to erase. A service that cannot state it may be trusted all the
same, by `success_is_proof`: that is the project's statement, and not the service's.

Without a way to probe, the request is sent again. It is idempotent by contract, and it also erases
what came to the service after the first one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.core.exceptions import FieldDoesNotExist

from ...erasure import Found
from ...exceptions import NotErased
from .options import Configured

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from django.db.models import Model, QuerySet

    from ...erasure import Item


class Purpose(Enum):
    """What a call asks for."""

    ERASE = "erase"
    PROBE = "probe"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a service answered to a call that succeeded: a document, if it sent one.

    Unless it is `final`, the service has only taken the request.
    """

    document: object = None
    final: bool = True


class Service(Configured):
    """Base of steps that send the ids of removed rows to another service.

    `models` says which ids: the label of each model, and the field with the id.
    """

    #: Label → field, as in {"shop.Order": "pk", "shop.Customer": "crm_id"}.
    models: Mapping[str, str] = {}
    #: Whether a call that succeeds proves the erasure, although the service does not state it.
    success_is_proof: bool = False
    #: The most items in one call.
    items_max: int = 500
    #: What the service and reasons are told that the step is called; "" is its class.
    name: str = ""

    def validate(self) -> None:
        """Raise `ValueError` unless `models` names fields of models, or a subclass replaces it."""
        if not self.models and type(self).covers is Service.covers:
            raise ValueError('models is empty; it takes the fields with ids: {"shop.Order": "pk"}')
        for label, field in self.models.items():
            try:
                meta = apps.get_model(label)._meta.concrete_model._meta
                if field != "pk":
                    meta.get_field(field)
            except (LookupError, FieldDoesNotExist, ValueError) as error:
                raise ValueError(f"models: {error}") from None
            if meta.label != label:
                raise ValueError(f"models: {label!r} is {meta.label!r}")

    def covers(self, model: type[Model]) -> bool:
        """Return whether `models` names the model."""
        return model._meta.label in self.models

    def collect(self, rows: QuerySet[Any]) -> Iterable[Item]:
        """Return the ids of the rows: model, field and value."""
        label: str = rows.model._meta.label
        field = self.models[label]
        values = rows.order_by().values_list(field, flat=True).iterator()
        for value in dict.fromkeys(value for value in values if value not in {None, ""}):
            yield {"model": label, "field": field, "value": _plain(value)}

    def erase(self, items: Sequence[Item]) -> None:
        """Send the ids. Raises `NotErased` if the service does not take them, or denies it."""
        for part in self._parts(items):
            answer = self.call(Purpose.ERASE, part)
            if proved(answer, trusted=True) is Found.SOME:
                raise NotErased(f"{self} took the request, and answers that data is left")

    def probe(self, items: Sequence[Item]) -> Found:
        """Return what the service states. See Note [What an answer proves].

        Raises what `call` raises: that is unknown, with a reason.
        """
        purpose = Purpose.PROBE if self.has_probe else Purpose.ERASE
        return worst(self._found(purpose, part) for part in self._parts(items))

    @property
    def has_probe(self) -> bool:
        """Whether the service can be asked without asking it to erase."""
        return False

    def call(self, purpose: Purpose, items: Sequence[Item]) -> Answer:
        """Call the service once. Raises an exception if it did not succeed."""
        raise NotImplementedError

    def _found(self, purpose: Purpose, items: Sequence[Item]) -> Found:
        trusted = self.success_is_proof and purpose is Purpose.ERASE
        return proved(self.call(purpose, items), trusted=trusted, purpose=purpose)

    def _parts(self, items: Sequence[Item]) -> Iterator[Sequence[Item]]:
        for start in range(0, len(items), self.items_max):
            yield items[start : start + self.items_max]

    def __str__(self) -> str:
        return self.name or type(self).__name__


def proved(answer: Answer, *, trusted: bool, purpose: Purpose = Purpose.ERASE) -> Found:
    """Return what the answer to a call that succeeded proves. Pure."""
    document = answer.document
    stated = document if isinstance(document, Mapping) else {}
    left, erased = stated.get("left"), stated.get("erased")
    if type(left) is int and left > 0:
        return Found.SOME
    if purpose is Purpose.ERASE and erased is False:
        return Found.SOME
    if "left" in stated or not answer.final:
        return Found.NONE if type(left) is int and left == 0 and answer.final else Found.UNKNOWN
    if purpose is Purpose.ERASE and (erased is True or (trusted and "erased" not in stated)):
        return Found.NONE
    return Found.UNKNOWN


def worst(found: Iterable[Found]) -> Found:
    """Return what is true of all parts together. Pure."""
    parts = {*found}
    return next((one for one in (Found.SOME, Found.UNKNOWN) if one in parts), Found.NONE)


def digest_of(purpose: str, name: str, items: Sequence[Item]) -> str:
    """Return an id of a request: the same for the same items, in whatever order. Pure."""
    ordered = sorted(json.dumps(item, sort_keys=True) for item in items)
    return hashlib.sha256(json.dumps([purpose, name, ordered]).encode()).hexdigest()


def _plain(value: object) -> int | str:
    """Return an id as JSON has it."""
    return value if type(value) is int else str(value)
