"""Access rights at a server: one API key with all rights, or users who read and administrators who also write.

Names and password hashes are in ``tiled/users.json``. A laboratory with existing accounts puts Tiled's
``authentication`` section (PAM, LDAP, OpenID Connect) into ``tiled/authentication.yml`` instead.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from pathlib import Path
from typing import Any

from tiled.access_control.access_policies import DummyAccessPolicy
from tiled.access_control.scopes import PUBLIC_SCOPES, ScopeName
from tiled.server.protocols import InternalAuthenticator, UserSessionState

from xrm_sims.atomic_write import write_whole
from xrm_sims.data.database import make_sqlite
from xrm_sims.data.layout import Layout, api_key, once_private

PROVIDER = "xrm-sims"
LEAST_PASSWORD = 10  # characters
_COST = {"n": 1 << 14, "r": 8, "p": 1}  # for scrypt: 16 MB and about 50 ms per attempt


def add_user(layout: Layout, name: str, password: str, *, admin: bool = False) -> None:
    """Add a user, or change a password.

    Raises ValueError for an unusable name or a short password.
    """
    if not name.isidentifier():
        raise ValueError(f"user {name!r}: needs a name of letters and digits")
    if len(password) < LEAST_PASSWORD:
        raise ValueError(f"password: needs {LEAST_PASSWORD} characters at least, got {len(password)}")
    salt = secrets.token_hex(16)
    users = _read(layout.users)
    users[name] = {"salt": salt, "hash": _hash(password, salt), "admin": admin}
    layout.tiled.mkdir(parents=True, exist_ok=True)
    write_whole(layout.users, json.dumps(users, indent=1), private=True)


def one_key(layout: Layout) -> dict[str, Any]:
    """Return the sections of Tiled's configuration for access with the API key."""
    return {
        "authentication": {"single_user_api_key": api_key(layout)},
        "access_control": {"access_policy": "xrm_sims.data.users:KeyHolders", "args": {}},
    }


def several_people(layout: Layout) -> dict[str, Any]:
    """Return the sections of Tiled's configuration for people who log in.

    Raises ValueError when there are no users, or when ``authentication.yml`` is invalid.
    """
    own = layout.tiled / "authentication.yml"
    authentication = _foreign(own) if own.exists() else _own(layout)
    database = layout.tiled / "sessions.db"
    make_sqlite(database, "authn_database")
    return {
        "authentication": {"secret_keys": [once_private(layout.tiled / "session_key")], **authentication},
        "database": {"uri": f"sqlite:///{database}"},
        "access_control": {"access_policy": "xrm_sims.data.users:ReadersAndAdministrators", "args": {}},
    }


class PasswordFile(InternalAuthenticator):  # type: ignore[misc]
    """Tiled authenticator that reads ``users.json`` at each attempt."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self.confirmation_message = ""

    async def authenticate(self, username: str, password: str) -> UserSessionState | None:
        known = _read(self.path).get(username, {"salt": "", "hash": ""})  # an unknown name takes as long as a known one
        if secrets.compare_digest(_hash(password, known["salt"]), known["hash"]):
            return UserSessionState(username, {})
        return None


class KeyHolders(DummyAccessPolicy):  # type: ignore[misc]
    """Access policy that allows the scopes of the credentials, and nothing without credentials.

    Tiled 0.2.20 needs it because below ``/zarr/`` it checks the access policy only.
    """

    async def allowed_scopes(self, node: Any, principal: Any, authn_access_tags: Any, authn_scopes: Any) -> Any:
        return frozenset(authn_scopes)


class ReadersAndAdministrators(KeyHolders):
    """Access policy that lets users read everything and only administrators change it."""

    async def allowed_scopes(self, node: Any, principal: Any, authn_access_tags: Any, authn_scopes: Any) -> Any:
        scopes = await super().allowed_scopes(node, principal, authn_access_tags, authn_scopes)
        return scopes if ScopeName.admin_apikeys in scopes else scopes & PUBLIC_SCOPES


def _own(layout: Layout) -> dict[str, Any]:
    users = _read(layout.users)
    if not users:
        raise ValueError(f"{layout.root} has no users yet: xrm-sims add-user NAME")
    authenticator = {"authenticator": "xrm_sims.data.users:PasswordFile", "args": {"path": str(layout.users)}}
    admins = [{"provider": PROVIDER, "id": name} for name, user in users.items() if user["admin"]]
    return {"providers": [{"provider": PROVIDER, **authenticator}], "tiled_admins": admins}


def _foreign(path: Path) -> dict[str, Any]:
    import yaml

    try:
        said = yaml.safe_load(path.read_text())
        section = said["authentication"]
    except (yaml.YAMLError, KeyError, TypeError):
        section = None
    if not isinstance(section, dict) or not section.get("providers"):
        raise ValueError(f"{path}: needs Tiled's section authentication, with providers")
    return section


def _read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text())) if path.exists() else {}


def _hash(password: str, salt: str) -> str:
    return hashlib.scrypt(password.encode(), salt=salt.encode(), dklen=32, **_COST).hex()
