"""Addresses of the blog."""

from __future__ import annotations

from django.urls import path

from . import views

app_name = "blog"
urlpatterns = [
    path("posts/", views.posts, name="posts"),
    path("posts/create/", views.create_post, name="create-post"),
]
