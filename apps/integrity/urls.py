"""Addresses for machines: `path("integrity/", include("crossdb_integrity.urls"))`."""

from __future__ import annotations

from django.urls import path

from . import views

urlpatterns = [
    path("healthz", views.healthz, name="integrity-healthz"),
    path("metrics", views.metrics, name="integrity-metrics"),
]
