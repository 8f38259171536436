"""Several people at one server: they log in, read, and change nothing unless they are administrators."""

from __future__ import annotations

import stat

import httpx
import numpy as np
import pytest

from xrm_sims.data import results
from xrm_sims.data.catalog import disconnect, running_server
from xrm_sims.data.layout import Layout
from xrm_sims.data.server import TiledServer
from xrm_sims.data.users import add_user

UID = "a" * 36
VOLUME = np.arange(24.0).reshape(2, 3, 4)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    data = Layout.of(tmp_path_factory.mktemp("lab") / "data")
    results.save(data.root, UID, "volume", {"volume": VOLUME})
    disconnect(data.root)
    add_user(data, "ada", "a long password")
    add_user(data, "grace", "another password", admin=True)
    with TiledServer(data.root, users=True) as server:
        yield server


def login(server, name, password, provider="xrm-sims"):
    form = {"username": name, "password": password}
    return httpx.post(f"{server.uri}/auth/provider/{provider}/token", data=form, trust_env=False)


def client_of(server, token):
    header = {"Authorization": f"Bearer {token}"}
    return httpx.Client(base_url=server.uri, headers=header, trust_env=False)


def test_who_logs_in_reads_and_changes_nothing(lab):
    from tiled.client import from_uri

    answer = login(lab, "ada", "a long password")
    assert answer.status_code == 200
    client = client_of(lab, answer.json()["access_token"])
    assert client.get(f"/metadata/results/{UID}").status_code == 200
    new = {"structure_family": "container", "metadata": {}, "id": "mine"}
    assert client.post("/metadata/results", json=new).status_code == 403
    assert client.put(f"/metadata/results/{UID}", json={"metadata": {"a": 1}, "specs": []}).status_code in (403, 404)
    assert client.delete(f"/metadata/results/{UID}?recursive=true").status_code in (403, 404)
    assert client.get("/auth/principal").status_code in (401, 403)
    made = client.post("/auth/apikey", json={"expires_in": 3600, "scopes": ["read:metadata", "read:data"]})
    reader = from_uri(lab.uri, api_key=made.json()["secret"])
    np.testing.assert_array_equal(reader["results"][UID]["volume"]["volume"].read(), VOLUME)


def test_an_administrator_may_write(lab):
    client = client_of(lab, login(lab, "grace", "another password").json()["access_token"])
    new = {"structure_family": "container", "metadata": {}, "id": "made", "specs": [], "data_sources": []}
    assert client.post("/metadata/results", json=new).status_code == 200
    assert client.delete("/metadata/results/made").status_code == 200


@pytest.mark.parametrize(
    ("name", "password"), [("ada", "wrong"), ("nobody", ""), ("", ""), ("ada", ""), ("ada\0", "a long password")]
)
def test_nobody_else_comes_in(lab, name, password):
    assert login(lab, name, password).status_code in (401, 422)
    for headers in ({}, {"Authorization": f"Apikey {lab.key}"}, {"Authorization": "Bearer x"}):
        assert httpx.get(f"{lab.uri}/search/results", headers=headers, trust_env=False).status_code in (401, 403)


def test_nothing_of_a_password_is_kept_and_programs_go_on(lab):
    layout = lab.layout
    for path in (layout.users, layout.tiled / "session_key"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "password" not in layout.users.read_text()
    assert lab.key not in lab.url
    assert running_server(layout) is None
    np.testing.assert_array_equal(results.load(layout.root, UID, "volume").arrays["volume"], VOLUME)
    disconnect(layout.root)


def test_what_is_refused(tmp_path):
    layout = Layout.of(tmp_path / "data")
    with pytest.raises(ValueError, match=r"host 0\.0\.0\.0: others than this computer need to log in"):
        TiledServer(layout.root, host="0.0.0.0")
    with pytest.raises(ValueError, match="has no users yet: xrm-sims add-user NAME"):
        TiledServer(layout.root, users=True).run()
    with pytest.raises(ValueError, match="needs a name of letters"):
        add_user(layout, "a b", "a long password")
    with pytest.raises(ValueError, match="needs 10 characters at least, got 5"):
        add_user(layout, "ada", "short")
    (layout.tiled / "authentication.yml").write_text("authentication: {}")
    with pytest.raises(ValueError, match="needs Tiled's section authentication, with providers"):
        TiledServer(layout.root, users=True).run()


def test_a_laboratory_brings_its_own_accounts(tmp_path):
    layout = Layout.of(tmp_path / "data")
    layout.tiled.mkdir(parents=True)
    (layout.tiled / "authentication.yml").write_text(
        """
authentication:
  providers:
    - provider: lab
      authenticator: tiled.authenticators:DictionaryAuthenticator
      args: {users_to_passwords: {marie: radium}}
"""
    )
    with TiledServer(layout.root, users=True) as server:
        token = login(server, "marie", "radium", "lab").json()["access_token"]
        assert client_of(server, token).get("/search/runs").status_code == 200
        assert login(server, "marie", "wrong", "lab").status_code == 401
