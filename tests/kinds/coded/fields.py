"""Fields whose values in Python are not those of their columns, as third parties write them."""

from __future__ import annotations

import uuid
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models

MASK = 0b110


class Code:
    """A key as an object: equal to none but itself, as those whose author did not think of it."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __lt__(self, other: Code) -> bool:  # Django's Collector sorts by key
        return self.number < other.number

    def __int__(self) -> int:
        return self.number

    def __str__(self) -> str:
        return f"c{self.number * 7}"


class ObjectField(models.BigIntegerField):
    """Stores 3, and is Code(3), which is written as "c21"."""

    def from_db_value(self, value: Any, *_: Any) -> Any:
        return None if value is None else Code(value)

    def to_python(self, value: Any) -> Any:
        if value is None or isinstance(value, Code):
            return value
        text = str(value)
        return Code(int(text[1:]) // 7 if text.startswith("c") else int(text))

    def get_prep_value(self, value: Any) -> Any:
        return None if value is None else int(self.to_python(value))


class MaskedField(models.BigIntegerField):
    """Stores 3, and is 5: both are whole numbers, and each is another row's."""

    def from_db_value(self, value: Any, *_: Any) -> Any:
        return None if value is None else value ^ MASK

    def get_prep_value(self, value: Any) -> Any:
        value = super().get_prep_value(value)
        return None if value is None else value ^ MASK


class PrefixedField(models.BigIntegerField):
    """Stores 3, and is "usr_3"."""

    def from_db_value(self, value: Any, *_: Any) -> Any:
        return None if value is None else f"usr_{value}"

    def to_python(self, value: Any) -> Any:
        return value

    def get_prep_value(self, value: Any) -> Any:
        return None if value is None else int(str(value).removeprefix("usr_"))


class StoredPrefixField(models.CharField):
    """Stores "usr_3", and is 3."""

    def from_db_value(self, value: Any, *_: Any) -> Any:
        return None if value is None else int(value.removeprefix("usr_"))

    def to_python(self, value: Any) -> Any:
        return None if value is None else int(value)

    def get_prep_value(self, value: Any) -> Any:
        return None if value is None else f"usr_{int(value)}"


class CharUUIDField(models.Field):
    """Stores 32 characters, and is a UUID."""

    def db_type(self, connection: Any) -> str:
        return "char(32)"

    def from_db_value(self, value: Any, *_: Any) -> Any:
        return None if value is None else uuid.UUID(value)

    def to_python(self, value: Any) -> Any:
        return value if value is None or isinstance(value, uuid.UUID) else uuid.UUID(str(value))

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:  # noqa: FBT001, FBT002
        value = self.to_python(value)
        return None if value is None else value.hex


class StrictField(models.CharField):
    """Stores "3", and is "s-3"; refuses what does not begin so."""

    def from_db_value(self, value: Any, *_: Any) -> Any:
        return None if value is None else f"s-{value}"

    def to_python(self, value: Any) -> Any:
        if value is not None and not (isinstance(value, str) and value.startswith("s-")):
            raise ValidationError("not such a key")
        return value

    def get_prep_value(self, value: Any) -> Any:
        value = self.to_python(value)
        return None if value is None else value[2:]


class LossyField(models.BigIntegerField):
    """Stores 3, is 3, and writes "3?", of which it makes 4: no key of it comes back."""

    def value_to_string(self, obj: Any) -> str:
        return f"{self.value_from_object(obj)}?"

    def to_python(self, value: Any) -> Any:
        return int(value[:-1]) + 1 if isinstance(value, str) else value
