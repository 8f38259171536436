"""Bluesky's queue server with this profile, and the submission of night sheets to it.

Everything listens on the loopback interface only.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zlib
from collections.abc import Callable
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args, get_type_hints

from xrm_sims.app.night.sheet_file import SheetFile
from xrm_sims.data.layout import Layout

PORT = 60615  # the default of the qserver client
CONSOLE_PORT_OFFSET = 10  # from PORT, for the output of the console
ADDRESS = "QSERVER_ZMQ_CONTROL_ADDRESS"  # the name that the qserver client reads
USER_GROUP = "primary"
_ANSWER_MS = 5000
_TERMINATE_S = 20.0  # wait before SIGTERM is sent again
_CHECK_S, _MAX_FAILURES = 1.0, 3  # interval of checks of Redis, and failures in a row before it counts as gone


def manager_command(data: Path | None, redis: str, port: int = PORT) -> list[str]:
    """Return the command line of ``start-re-manager`` with this project's profile collection on a data root.

    The queue has its own name in Redis for each data root, so two data roots can share a Redis.
    """
    layout = Layout.of(data)
    startup = Path(str(files("profile_collection"))) / "startup"
    return [
        str(Path(sys.executable).with_name("start-re-manager")),
        f"--startup-dir={startup}",
        f"--user-group-permissions={startup / 'user_group_permissions.yaml'}",
        f"--existing-plans-devices={layout.queue}",
        f"--redis-addr={redis}",
        f"--redis-name-prefix={queue_name(layout)}",
        f"--zmq-control-addr=tcp://127.0.0.1:{port}",
        f"--zmq-info-addr=tcp://127.0.0.1:{port + CONSOLE_PORT_OFFSET}",
        "--zmq-publish-console=ON",
    ]


def queue_name(layout: Layout) -> str:
    return f"xrm_sims_{zlib.crc32(str(layout.root).encode()):08x}"


def run_manager(data: Path | None, redis: str, port: int = PORT) -> int:
    """Run the queue server's manager until Ctrl-C and return its exit code.

    The manager does not notice when Redis stops and cannot recover from it, so this function checks Redis. Raises
    RuntimeError if the manager or Redis is missing, and if Redis stops; a running plan finishes first.
    """
    layout = Layout.of(data)
    command = manager_command(layout.root, redis, port)
    if not Path(command[0]).exists():
        raise RuntimeError("the queue server is not installed; run: pip install 'xrm-sims[queue]'")
    check_redis(redis)
    layout.queue.mkdir(parents=True, exist_ok=True)
    os.environ |= {"XRM_SIMS_DATA": str(layout.root), ADDRESS: f"tcp://127.0.0.1:{port}"}
    manager = subprocess.Popen(command)
    failures = 0
    try:
        while failures < _MAX_FAILURES or _executing():
            with suppress(subprocess.TimeoutExpired):
                return manager.wait(_CHECK_S)
            failures = failures + 1 if failures >= _MAX_FAILURES or not _answers(redis) else 0
            if failures == _MAX_FAILURES:
                print(f"xrm-sims: Redis at {redis} is gone; a running plan will finish", file=sys.stderr)
    finally:
        while manager.poll() is None:
            manager.terminate()  # a manager that is starting ignores the first signal
            with suppress(subprocess.TimeoutExpired):
                manager.wait(_TERMINATE_S)
    raise RuntimeError(
        f"Redis at {redis} is gone, so the queue server has ended; start Redis, then xrm-sims queue. The remaining "
        "plans are in the queue; the record of the last plan has its result"
    )


def annotate_parameters(plan: Callable[..., Any]) -> None:
    """Annotate a plan's parameters for the queue server, which evaluates annotations without the plan's imports.

    Without annotations it would replace every string that names a device or a plan by that object.
    """
    parameters = {
        name: {"annotation": "__DEVICE__" if name == "scope" else _annotation(hint)}
        for name, hint in get_type_hints(plan).items()
        if name != "return"
    }
    plan._custom_parameter_annotation_ = {"parameters": parameters}  # type: ignore[attr-defined]


def _annotation(hint: Any) -> str:
    """Return a type as text that needs only ``typing`` and ``collections``; types of this project become Any."""
    text = hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint)
    own = re.search(r"\b(xrm_sims|plans|devices)\.|~|^[A-Z]\w*$", text.replace("None", ""))
    return "typing.Any" if own else text


def check_redis(address: str) -> None:
    """Raise RuntimeError with the command that starts Redis if none answers at this address."""
    if not _answers(address):
        port = address.partition(":")[2] or 6379
        raise RuntimeError(
            f"Redis at {address} does not answer; start it with: redis-server --port {port} --bind 127.0.0.1 "
            "--appendonly yes"
        )


def _answers(address: str) -> bool:
    import redis

    host, _, port = address.partition(":")
    try:
        with redis.Redis(host, int(port or 6379), socket_connect_timeout=2.0, socket_timeout=2.0) as client:
            client.ping()
    except (OSError, redis.RedisError, ValueError):
        return False
    return True


def _executing() -> bool:
    """Return whether the manager's worker runs a plan; the manager reports this without Redis."""
    try:
        return str(ask("status")["worker_environment_state"]).startswith("executing")
    except RuntimeError:  # no manager answers
        return False


def submit(file: SheetFile) -> str:
    """Put a night sheet into the queue and return the uid of its item.

    Raises RuntimeError if the manager refuses, or does not answer; the sheet may then be in the queue all the same.
    """
    item = {"item_type": "plan", "name": "night", "args": ["scope", file.table], "meta": {"sheet": str(file.path)}}
    answer = ask("queue_item_add", item=item, user="xrm-sims", user_group=USER_GROUP)
    return str(answer["item"]["item_uid"])


def ask(method: str, **parameters: Any) -> dict[str, Any]:
    """Return the manager's answer to a request; raise RuntimeError with its message if it refuses."""
    from bluesky_queueserver.manager.comms import CommTimeoutError, ZMQCommSendThreads

    address = os.environ.get(ADDRESS, f"tcp://127.0.0.1:{PORT}")
    client = ZMQCommSendThreads(zmq_server_address=address, timeout_recv=_ANSWER_MS)
    try:
        answer: dict[str, Any] = client.send_message(method=method, params=parameters, raise_exceptions=True)
    except CommTimeoutError:
        raise RuntimeError(
            f"the queue server at {address} does not answer; start it with xrm-sims queue. The request may have "
            "arrived: check with qserver queue get before you repeat it"
        ) from None
    finally:
        client.close()
    if not answer.get("success", True):
        raise RuntimeError(f"the queue server refuses: {' '.join(str(answer.get('msg')).split())}")
    return answer
