"""The form of a new post."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from django import forms
from django.contrib.auth import get_user_model

from .models import Post

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser


class PostForm(forms.Form):
    """Title, content, and an author who exists when the form is checked.

    Between that check and the INSERT the author may still be deleted: no check in another
    database can prevent it, so the cascade of that deletion looks twice.
    """

    author_id: forms.ModelChoiceField[Any] = forms.ModelChoiceField(
        queryset=get_user_model().objects.none(),
        label="Author (number of the user)",
        widget=forms.NumberInput,
        error_messages={
            "required": "Say who the author is.",
            "invalid_choice": "There is no author %(value)s that you may write for.",
        },
    )
    title = forms.CharField(max_length=200)
    content = forms.CharField(widget=forms.Textarea)

    def __init__(self, data: Any = None, *, writer: AbstractBaseUser, may_choose: bool) -> None:
        """`writer` is the logged-in user; unless `may_choose`, they write as themselves only."""
        super().__init__(data, initial={"author_id": writer.pk})
        users = get_user_model().objects.all()
        author = cast("forms.ModelChoiceField[Any]", self.fields["author_id"])
        author.queryset = users if may_choose else users.filter(pk=writer.pk)

    def save(self) -> Post:
        """Create the post. Call it after `is_valid()`."""
        return Post.objects.create(
            author=self.cleaned_data["author_id"],
            title=self.cleaned_data["title"],
            content=self.cleaned_data["content"],
        )
