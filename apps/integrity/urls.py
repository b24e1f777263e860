"""For your urls.py: `path("integrity/", include("crossdb_integrity.urls"))`."""

from __future__ import annotations

from django.urls import path

from .report import views

app_name = "integrity-monitoring"
urlpatterns = [
    path("healthz", views.healthz, name="healthz"),
    path("metrics", views.metrics, name="metrics"),
]
