"""Addresses of the shop."""

from __future__ import annotations

from django.urls import path

from . import views

app_name = "shop"
urlpatterns = [
    path("orders/", views.orders, name="orders"),
]
