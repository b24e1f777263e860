"""URLs of the project."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth import views as auth_views
from django.urls import include, path

from . import views

urlpatterns = [
    path("", views.home, name="home"),
    path("login/", auth_views.LoginView.as_view(), name="login"),
    path("logout/", auth_views.LogoutView.as_view(), name="logout"),
    path("account/delete/", views.delete_account, name="delete-account"),
    path("admin/", admin.site.urls),
    path("integrity/", include("apps.integrity.urls")),
    path("blog/", include("apps.blog.urls")),
    path("shop/", include("apps.shop.urls")),
]
