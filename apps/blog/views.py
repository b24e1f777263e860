"""Pages of the blog."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from apps.remote_user import name_of

from .forms import PostForm
from .models import Post

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from django.http import HttpRequest, HttpResponse

PAGE_ROWS = 50


@require_safe
def posts(request: HttpRequest) -> HttpResponse:
    """The newest posts. One query fetches their authors, from their own database."""
    newest = Post.objects.prefetch_related("author").order_by("-created_at", "-pk")[:PAGE_ROWS]
    rows = [(post, name_of(post, "author")) for post in newest]
    return render(request, "blog/posts.html", {"rows": rows})


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def create_post(request: HttpRequest) -> HttpResponse:
    """GET shows the form. POST creates the post, or answers 400 and says what is wrong.

    Who may add posts in the admin may also write for another author.
    """
    writer: User = request.user  # type: ignore[assignment]  # login_required
    form = PostForm(
        request.POST if request.method == "POST" else None,
        writer=writer,
        may_choose=writer.has_perm("blog.add_post"),
    )
    if not form.is_bound:
        return render(request, "blog/create_post.html", {"form": form})
    if not form.is_valid():
        return render(request, "blog/create_post.html", {"form": form}, status=400)
    post = form.save()
    messages.success(request, f"Post {post.pk} is published.")
    return redirect("blog:posts")
