"""A Channel Access server over the devices; each value that a client puts passes the same interlocks as a plan.

It has no state of its own. A readback is read from its device for each client, and posted to monitors after each
command and once a second.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np
from caproto import ChannelChar, ChannelData, ChannelDouble, ChannelEnum, ChannelInteger
from caproto.asyncio.server import start_server
from ophyd.status import Status

from devices import Instrument
from devices.conditions import ANY_TIME
from devices.frames import FrameDevice
from devices.quantity import DriverDevice, Quantity
from xrm_sims.epics.file_plugin import FilePlugin
from xrm_sims.epics.names import BOOLEANS, FAILED, INSTRUMENT, REFUSED, TEXT_BYTES

Command = Callable[[], Status | None]
_POST_S = 1.0
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def serve(scope: Instrument, prefix: str, *, ready: Callable[[int], None]) -> None:
    """Serve until a signal, on the interfaces of EPICS_CAS_INTF_ADDR_LIST; call ``ready`` with the number of PVs.

    The event loop handles the signals, because an exception from a signal handler could be lost in any running task.
    """
    server = Server(scope, prefix)

    async def begin(library: Any) -> None:
        ready(len(server.table))
        while True:
            await library.library.sleep(_POST_S)
            await server.post()

    async def until_stopped() -> None:
        serving = asyncio.ensure_future(start_server(server.table, startup_hook=begin))
        for number in _STOP_SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, serving.cancel)
        with suppress(asyncio.CancelledError):
            await serving

    before = {number: signal.getsignal(number) for number in _STOP_SIGNALS}
    try:
        asyncio.run(until_stopped())
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        server.close()


class Server:
    """The process variables of one instrument: ``table`` maps their names to caproto's channels."""

    def __init__(self, scope: Instrument, prefix: str) -> None:
        self.scope = scope
        self.prefix = prefix
        self.table: dict[str, ChannelData] = {}
        self._readbacks: list[_Readback] = []
        self._plugins: list[FilePlugin] = []
        parts = [device for _, device in scope.walk_subdevices() if isinstance(device, DriverDevice)]
        devices = {INSTRUMENT: scope} | {part.prefix: part for part in parts}
        self._queues = {name: _CommandQueue(self, name, device) for name, device in devices.items()}
        owner = {device.channel: name for name, device in devices.items()}
        for walked in scope.walk_signals():
            if isinstance(walked.item, Quantity):
                self._add_quantity(owner[walked.item.channel], walked.item)
        for name, device in devices.items():
            if isinstance(device, FrameDevice):
                self._add_frames(name, device)
        self._add_instrument_commands()

    def add(self, name: str, channel: ChannelData) -> Any:
        self.table[self.prefix + name] = channel
        return channel

    def readback(self, name: str, like: Any, read: Callable[[], Any], *, posted: bool = True, **metadata: Any) -> None:
        """Add a PV of the type of ``like`` that returns the value of ``read``, which must not wait for other calls."""
        channel = self.add(f"{name}_RBV", _channel(like, read=read, **metadata))
        if posted:
            self._readbacks.append(channel)

    def command(self, name: str, like: Any, act: Callable[[Any], Status | None], **metadata: Any) -> None:
        """Add a PV that passes each value put to ``act``, in the queue of its device."""
        queue = self._queues[name.partition(":")[0]]
        self.add(name, _channel(like, put=lambda value: queue.do(partial(act, value)), **metadata))

    async def post(self) -> None:
        """Update all readbacks for monitoring clients."""
        for channel in self._readbacks:
            await channel.refresh()

    def close(self) -> None:
        for plugin in self._plugins:
            plugin.close()

    def _add_quantity(self, device: str, signal: Quantity) -> None:
        name, value = f"{device}:{signal.quantity}", signal.get()
        metadata: dict[str, Any] = {"units": signal.egu}
        if signal.limits != (0, 0):
            low, high = signal.limits
            metadata |= {"lower_ctrl_limit": low, "upper_ctrl_limit": high}
        if signal.choices and isinstance(value, str):
            metadata = {"enum_strings": [str(choice) for choice in signal.choices]}
        read: Callable[[], Any] = signal.get
        if signal.quantity in ANY_TIME.get(device, ()):
            read = partial(signal.channel.driver.get, signal.quantity)
        self.readback(name, value, read, **metadata)
        if signal.write_access:
            self.command(name, value, signal.set, **metadata)

    def _add_frames(self, name: str, device: FrameDevice) -> None:
        last = {"StartedS": 0.0, "StoppedS": 0.0, "CurrentNA": 0.0}
        shape: list[int] = []
        plugin = FilePlugin(device.frame_shape)
        self._plugins.append(plugin)

        def take() -> None:
            frame = device.acquire()
            plugin.hold(np.asarray(frame.counts))
            last.update(StartedS=frame.started_s, StoppedS=frame.stopped_s, CurrentNA=frame.current_na)
            shape[:] = frame.counts.shape

        self.command(f"{name}:Acquire", 0, lambda _: device.channel.submit(device, take))
        for quantity, unit in (("StartedS", "s"), ("StoppedS", "s"), ("CurrentNA", "nA")):
            self.readback(f"{name}:{quantity}", 0.0, partial(last.__getitem__, quantity), units=unit)
        self.readback(f"{name}:ArraySize", [0], lambda: list(shape), max_length=8)
        files = f"{name}:HDF1:"
        for quantity, attribute in (("FilePath", "path"), ("FileName", "name")):
            self.command(files + quantity, "", partial(setattr, plugin, attribute))
            self.readback(files + quantity, "", partial(getattr, plugin, attribute))
        self.command(files + "Capture", 0, lambda on: plugin.capture(bool(on)))
        self.command(files + "WriteFile", 0, lambda _: plugin.write())
        self.readback(files + "FullFileName", "", lambda: plugin.full_name)
        self.readback(files + "NumCaptured", 0, lambda: plugin.captured)

    def _add_instrument_commands(self) -> None:
        scope, fib = self.scope, self.scope.fib
        self.command(f"{INSTRUMENT}:LetPassS", 0.0, scope.let_pass, units="s")
        pixels = scope.settings.detector.rows * scope.settings.detector.columns
        widepix, bad = scope.widepix.channel, np.zeros(0, int)

        def bad_pixels() -> list[int]:
            nonlocal bad
            bad = widepix.read(lambda: np.flatnonzero(widepix.driver.bad_pixels()), bad)
            return bad.tolist()

        self.readback("widepix:BadPixels", [0], bad_pixels, posted=False, max_length=pixels)
        done = {"dose_nc": 0.0, "seconds": 0.0}

        def draw(command: str, action: str, pattern: str) -> Status:
            def one_pass() -> None:
                scope.interlocks.check_action(action)
                done.update(getattr(fib.channel.driver, command)(json.loads(pattern)))

            scope.interlocks.check_action(action)
            return fib.channel.submit(fib, one_pass)

        self.command("fib:Mill", "", partial(draw, "mill_pass", "milling pass"))
        self.command("fib:Deposit", "", partial(draw, "deposit_pass", "deposition pass"))
        self.readback("fib:PassDoseNC", 0.0, partial(done.__getitem__, "dose_nc"), units="nC")
        self.readback("fib:PassSeconds", 0.0, partial(done.__getitem__, "seconds"), units="s")


class _CommandQueue:
    """Runs the commands of one device one after the other and reports their outcome."""

    def __init__(self, server: Server, name: str, device: Any) -> None:
        self._server = server
        self._lock = asyncio.Lock()
        self._busy = server.add(f"{name}:Busy", ChannelInteger(value=0))
        self._message = server.add(
            f"{name}:Message", ChannelChar(value="", max_length=TEXT_BYTES, string_encoding="utf-8")
        )

        async def stop(_: Any) -> None:
            device.channel.stop(False)

        server.add(f"{name}:Stop", _channel(0, put=stop))

    async def do(self, act: Command) -> None:
        """Run a command to its end; then ``Message`` is empty or states why it was refused or failed."""
        async with self._lock:
            await self._busy.write(1)
            try:
                status = await asyncio.to_thread(act)
                if isinstance(status, Status):
                    await _finished(status)
                message = ""
            except (ValueError, TypeError) as refusal:
                message = f"{REFUSED}{refusal}"
            except Exception as failure:
                message = f"{FAILED}{failure}"
            await self._server.post()
            await self._message.write(message, verify_value=False)
            await self._busy.write(0)


async def _finished(status: Status) -> None:
    """Wait for an ophyd status; raise its error."""
    loop, finished = asyncio.get_running_loop(), asyncio.Event()
    status.add_callback(lambda _: loop.call_soon_threadsafe(finished.set))
    await finished.wait()
    error = status.exception()
    if error is not None:
        raise error


class _Readback:
    """Mixin of a channel that reads from the device."""

    fetch: Callable[[], Any]

    async def refresh(self) -> None:
        value = self.fetch()
        await self.write(value, verify_value=False)  # type: ignore[attr-defined]

    async def read(self, data_type: Any) -> Any:
        await self.refresh()
        return await super().read(data_type)  # type: ignore[misc]

    async def verify_value(self, data: Any) -> Any:
        raise ValueError("can only be read")


class _Setpoint:
    """Mixin of a channel that passes a value to a device and keeps it as setpoint, even when refused."""

    send: Callable[[Any], Any]

    async def verify_value(self, data: Any) -> Any:
        await self.send(_to_python_value(data, getattr(self, "enum_strings", ())))
        return data


def _to_python_value(data: Any, labels: Any) -> Any:
    """Return the value that a client has put as a plain Python value."""
    if isinstance(data, (list, tuple, np.ndarray)) and len(data) == 1:
        data = data[0]
    if labels:
        label = data if isinstance(data, str) else labels[int(data)]
        return label == BOOLEANS[1] if tuple(labels) == BOOLEANS else label
    if isinstance(data, (bytes, bytearray)):
        return bytes(data).split(b"\0")[0].decode()
    return data.rstrip("\0") if isinstance(data, str) else data


def _channel(
    like: Any,
    *,
    read: Callable[[], Any] | None = None,
    put: Callable[[Any], Any] | None = None,
    **metadata: Any,
) -> Any:
    """Return a channel of the type of ``like`` that reads from or writes to the device."""
    mixin: type = _Readback if read is not None else _Setpoint
    convert: Callable[[Any], Any] = lambda value: value  # noqa: E731
    if isinstance(like, bool):
        base: type = ChannelEnum
        metadata = {"enum_strings": list(BOOLEANS)}
        convert = lambda value: BOOLEANS[bool(value)]  # noqa: E731
    elif "enum_strings" in metadata:
        base = ChannelEnum
    elif isinstance(like, str):
        base, metadata = ChannelChar, {"max_length": TEXT_BYTES, "string_encoding": "utf-8"}
    elif isinstance(like, (int, list)):
        base = ChannelInteger
    else:
        base = ChannelDouble
        metadata = {"precision": 6, **metadata}
    channel = type(f"{mixin.__name__}{base.__name__}", (mixin, base), {})(value=convert(like), **metadata)
    if read is not None:
        channel.fetch = lambda: convert(read())
    else:
        channel.send = put
    return channel
