"""The queue: bluesky's queue server on this profile, and handing night sheets to it.

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

PORT = 60615  # where the qserver client looks, too
CONSOLE_AFTER = 10  # the console's output is published that many ports further on
ADDRESS = "QSERVER_ZMQ_CONTROL_ADDRESS"  # the qserver client's own name for it
USER_GROUP = "primary"
_ANSWER_MS = 5000
_HEARD_S = 20.0  # in which a manager that was told to end has ended, if it heard
_LOOK_S, _MISSES = 1.0, 3  # how often Redis is looked for, and how often in vain before it counts as gone


def manager_command(data: Path | None, redis: str, port: int = PORT) -> list[str]:
    """``start-re-manager`` with this project's profile collection on a data root.

    The queue lives in Redis under a name of the data root's own, so that two data roots may share a Redis.
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
        f"--zmq-info-addr=tcp://127.0.0.1:{port + CONSOLE_AFTER}",
        "--zmq-publish-console=ON",
    ]


def queue_name(layout: Layout) -> str:
    return f"xrm_sims_{zlib.crc32(str(layout.root).encode()):08x}"


def run_manager(data: Path | None, redis: str, port: int = PORT) -> int:
    """The queue server's manager, until Ctrl-C; its exit code.

    The manager does not get over the loss of its Redis, and says so to nobody: it is looked after here. RuntimeError
    when it or Redis is not there, and when Redis goes away: a plan under way comes to its end first.
    """
    layout = Layout.of(data)
    command = manager_command(layout.root, redis, port)
    if not Path(command[0]).exists():
        raise RuntimeError("the queue server is not installed; run: pip install 'xrm-sims[queue]'")
    check_redis(redis)
    layout.queue.mkdir(parents=True, exist_ok=True)
    os.environ |= {"XRM_SIMS_DATA": str(layout.root), ADDRESS: f"tcp://127.0.0.1:{port}"}
    manager = subprocess.Popen(command)
    missed = 0
    try:
        while missed < _MISSES or _executing():
            with suppress(subprocess.TimeoutExpired):
                return manager.wait(_LOOK_S)
            missed = missed + 1 if missed >= _MISSES or not _answers(redis) else 0
            if missed == _MISSES:
                print(f"xrm-sims: Redis at {redis} is gone; a plan under way goes on to its end", file=sys.stderr)
    finally:
        while manager.poll() is None:
            manager.terminate()  # one that is just coming up does not hear the first
            with suppress(subprocess.TimeoutExpired):
                manager.wait(_HEARD_S)
    raise RuntimeError(
        f"Redis at {redis} is gone, so the queue server has ended; start Redis, then xrm-sims queue: what was still to "
        "come is in the queue, and the last plan's own record says how it ended"
    )


def spell_out(plan: Callable[..., Any]) -> None:
    """Tell a queue server what a plan's parameters are. It reads annotations as text and without a plan's imports, and
    without one it takes every word that names a device or a plan for that thing."""
    parameters = {
        name: {"annotation": "__DEVICE__" if name == "scope" else _spelled(hint)}
        for name, hint in get_type_hints(plan).items()
        if name != "return"
    }
    plan._custom_parameter_annotation_ = {"parameters": parameters}  # type: ignore[attr-defined]


def _spelled(hint: Any) -> str:
    """A type in words that need only ``typing`` and ``collections``; anything of this project's own is Any."""
    text = hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint)
    own = re.search(r"\b(xrm_sims|plans|devices)\.|~|^[A-Z]\w*$", text.replace("None", ""))
    return "typing.Any" if own else text


def check_redis(address: str) -> None:
    """RuntimeError naming the address and how to start it when no Redis answers there."""
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
    """Whether the manager's worker runs a plan; this it knows without Redis."""
    try:
        return str(ask("status")["worker_environment_state"]).startswith("executing")
    except RuntimeError:  # nobody is there
        return False


def submit(file: SheetFile) -> str:
    """Put a night sheet into the queue; the uid of its place there.

    RuntimeError when the manager does not answer (the sheet may be in the queue all the same: look before handing it
    in again) or refuses.
    """
    item = {"item_type": "plan", "name": "night", "args": ["scope", file.table], "meta": {"sheet": str(file.path)}}
    answer = ask("queue_item_add", item=item, user="xrm-sims", user_group=USER_GROUP)
    return str(answer["item"]["item_uid"])


def ask(method: str, **parameters: Any) -> dict[str, Any]:
    """One question to the manager; RuntimeError with its own words when it refuses."""
    from bluesky_queueserver.manager.comms import CommTimeoutError, ZMQCommSendThreads

    address = os.environ.get(ADDRESS, f"tcp://127.0.0.1:{PORT}")
    client = ZMQCommSendThreads(zmq_server_address=address, timeout_recv=_ANSWER_MS)
    try:
        answer = client.send_message(method=method, params=parameters, raise_exceptions=True)
    except CommTimeoutError:
        raise RuntimeError(
            f"the queue server at {address} does not answer; start it with xrm-sims queue, and before asking again for "
            "the same thing look whether it was heard: qserver queue get"
        ) from None
    finally:
        client.close()
    if not answer.get("success", True):
        raise RuntimeError(f"the queue server refuses: {' '.join(str(answer.get('msg')).split())}")
    return answer
