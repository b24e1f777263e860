"""The scenes: which app, which of its tables live beside the children, and what is compared."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One third-party app at work. `children` are the app labels in the child's database."""

    name: str
    distribution: str
    shows: str
    installed: Sequence[str]
    children: Sequence[str]
    #: Model → the columns of its rows that must be the same on one database and on two.
    compared: Mapping[str, Sequence[str]]
    settings: Mapping[str, Any] = field(default_factory=dict)
    #: More of `settings.INTEGRITY`, on two databases.
    integrity: Mapping[str, Any] = field(default_factory=dict)


ALL = (
    Scene(
        name="polymorphic",
        distribution="django-polymorphic",
        shows="wrapped policies, multi-table children",
        installed=["polymorphic"],
        children=["scene_polymorphic"],
        compared={
            "scene_polymorphic.Item": ["pk", "owner_id"],
            "scene_polymorphic.Book": ["pk", "pages"],
            "scene_polymorphic.Loan": ["pk", "item_id", "reader_id"],
        },
    ),
    Scene(
        name="mptt",
        distribution="django-mptt",
        shows="trees of rows that refer to each other",
        installed=["mptt"],
        children=["scene_mptt"],
        compared={"scene_mptt.Folder": ["pk", "owner_id", "parent_id"]},
    ),
    Scene(
        name="simple_history",
        distribution="django-simple-history",
        shows="history rows that are written when a row goes, and stay",
        installed=["simple_history"],
        children=["scene_simple_history"],
        compared={
            "scene_simple_history.Page": ["pk", "author_id", "title"],
            "scene_simple_history.HistoricalPage": ["id", "author_id", "title", "history_type"],
        },
        integrity={
            "ignored": {
                "scene_simple_history.HistoricalPage.author": "history keeps the keys of the dead",
                "scene_simple_history.HistoricalPage.history_user": "it says who did it",
            }
        },
    ),
    Scene(
        name="auditlog",
        distribution="django-auditlog",
        shows="entries beside the users, written when rows go elsewhere",
        installed=["auditlog"],
        children=["scene_auditlog"],
        compared={
            "scene_auditlog.Note": ["pk", "author_id"],
            "auditlog.LogEntry": ["object_pk", "action"],
        },
    ),
    Scene(
        name="auditlog_apart",
        distribution="django-auditlog",
        shows="an app's own tables beside the rows, its keys without constraints",
        installed=["auditlog"],
        children=["scene_auditlog_apart", "auditlog"],
        compared={
            "scene_auditlog_apart.Memo": ["pk", "author_id"],
            "auditlog.LogEntry": ["actor_id", "object_pk", "action"],
        },
        integrity={"unconstrained": ["auditlog"]},
    ),
    Scene(
        name="reversion",
        distribution="django-reversion",
        shows="versions of rows that are gone stay",
        installed=["reversion"],
        children=["scene_reversion"],
        compared={
            "scene_reversion.Draft": ["pk", "author_id"],
            "reversion.Version": ["pk", "object_id"],
            "reversion.Revision": ["pk", "user_id"],
        },
    ),
    Scene(
        name="reversion_apart",
        distribution="django-reversion",
        shows="versions beside the rows, their authors elsewhere",
        installed=["reversion"],
        children=["scene_reversion_apart", "reversion"],
        compared={
            "scene_reversion_apart.Sketch": ["pk", "author_id"],
            "reversion.Version": ["pk", "object_id"],
            "reversion.Revision": ["pk", "user_id"],
        },
        integrity={"unconstrained": ["reversion"]},
    ),
    Scene(
        name="authtoken",
        distribution="djangorestframework",
        shows="tokens that go with their users",
        installed=["rest_framework", "rest_framework.authtoken"],
        children=["scene_authtoken", "authtoken"],
        compared={
            "scene_authtoken.Device": ["pk", "owner_id"],
            "authtoken.Token": ["key", "user_id"],
        },
        integrity={"unconstrained": ["authtoken"]},
    ),
    Scene(
        name="guardian",
        distribution="django-guardian",
        shows="permissions on rows of another database",
        installed=["guardian"],
        children=["scene_guardian"],
        compared={
            "scene_guardian.Report": ["pk", "author_id"],
            "guardian.UserObjectPermission": ["pk", "user_id", "object_pk"],
        },
        settings={
            "AUTHENTICATION_BACKENDS": [
                "django.contrib.auth.backends.ModelBackend",
                "guardian.backends.ObjectPermissionBackend",
            ]
        },
    ),
    Scene(
        name="taggit",
        distribution="django-taggit",
        shows="generic relations below a cascade",
        installed=["taggit"],
        children=["scene_taggit", "taggit"],
        compared={
            "scene_taggit.Photo": ["pk", "author_id"],
            "taggit.TaggedItem": ["pk", "object_id"],
            "taggit.Tag": ["pk", "name"],
        },
        integrity={"unconstrained": ["taggit"]},
    ),
    Scene(
        name="safedelete",
        distribution="django-safedelete",
        shows="rows that managers hide go, too",
        installed=["safedelete"],
        children=["scene_safedelete"],
        compared={
            "scene_safedelete.Letter": ["pk", "author_id"],
            "scene_safedelete.Stamp": ["pk", "letter_id"],
        },
    ),
    Scene(
        name="safedelete_soft",
        distribution="django-safedelete",
        shows="soft deletes and their undoing, by a recipe",
        installed=["safedelete", "tests.apps.scene_safedelete_soft.accounts"],
        children=["scene_safedelete_soft"],
        compared={
            "accounts.Account": ["pk", "owner_id", "deleted_by_cascade"],
            "scene_safedelete_soft.Parcel": ["account_id", "deleted_by_cascade"],
            "scene_safedelete_soft.Seal": ["deleted_by_cascade"],
        },
    ),
    Scene(
        name="easy_audit",
        distribution="django-easy-audit",
        shows="receivers without a sender, which hear of every row",
        installed=["django.contrib.sessions", "easyaudit"],
        children=["scene_easy_audit"],
        compared={
            "scene_easy_audit.Ticket": ["pk", "author_id"],
            "easyaudit.CRUDEvent": ["event_type", "object_id"],
        },
        settings={"DJANGO_EASY_AUDIT_WATCH_REQUEST_EVENTS": False},
    ),
)
SCENES = {each.name: each for each in ALL}
