"""One run's processes and what can be observed of them: servers, hosts with their workers, the load and its log.

The scenario's task is its only writer. Observations come from outside the runtime: /proc, the members' rows read with
plain nats-py, and above all the clients' log: the world has healed when every client has had an answer of every ledger
to a call that began after the fault.
"""

import asyncio
import base64
import json
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import nats
from nats.errors import Error as NatsError

from tests.chaos.bank.outside import OUTSIDE, CountingServer
from tests.chaos.calls import CallLog, Outcome
from tests.chaos.load import LoadOptions, client_names, ledger_names
from tests.chaos.processes import MODEL, Host, Process
from tests.chaos.servers import ClusterServers, Servers, SingleServer
from tests.chaos.waiting import NotObserved, until, until_answered
from tests.powercut.small_blocks import make as make_small_blocks
from tests.support.proxy import Proxy

MEMBER_TTL_S = 3
SERVE_GUARD_S = 60.0
DRAIN_GUARD_S = 60.0
ASK_TIMEOUT_S = 2.0
TASK_DRAIN_S = 0.5

BANK_MODEL = "tests.chaos.bank.model:model"
SHORTENED_MODEL = "tests.chaos.bank.shortened:model"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a run starts with.

    `apart`: each host knows one server only, the next host the next one.
    `hosts`: the workers of each supervisor by node name. `proxied`: the host whose connection goes through a proxy.
    `follow`: whether workers apply what others store; without it an owner learns of another one's commits last.
    `bank`: the load is that of `tests.chaos.bank`, and `model` may be one of its with a safeguard less. `shorten`: its
    workers shorten the inbox all the time; where there is one server they sync its files.
    """

    cluster: bool = False
    apart: bool = False
    hosts: Mapping[str, int] = field(default_factory=lambda: {"a": 2})
    proxied: str | None = None
    follow: bool = True
    clients: int = 3
    ledgers: int = 24
    pause_s: float = 0.3
    bank: bool = False
    shorten: bool = False
    model: str = ""

    @property
    def deadline_s(self) -> float:
        """A leader change takes 6-8 s without writes, so a call's deadline must be well beyond it."""
        return 30.0 if self.cluster else 20.0

    @property
    def heal_guard_s(self) -> float:
        """How long after a fault every ledger must answer again: a deadline, and one more call."""
        return self.deadline_s + 30.0


class World:
    """An asynchronous context manager: everything serves inside and has ended after it."""

    def __init__(self, setting: Setting, namespace: str, directory: Path, seed: int) -> None:
        self.setting = setting
        self.namespace = namespace
        self.directory = directory
        self.stream = f"AETHER_{namespace}"
        self.table = f"KV_AETHER_{namespace}_TABLE"
        self.servers: Servers = ClusterServers() if setting.cluster else SingleServer()
        self.hosts: dict[str, Host] = {}
        self.happened: list[str] = []
        self.proxy: Proxy | None = None
        self.log = CallLog(directory / "calls.jsonl")
        self.outside = CountingServer()
        self._began_s = time.monotonic()
        self._seed = seed
        self._load: Process | None = None
        pairs = [
            (client, ledger) for client in client_names(setting.clients) for ledger in ledger_names(setting.ledgers)
        ]
        self._answered_s = dict.fromkeys(pairs, 0.0)

    # ------------------------------------------------------------------------------------------------ hosts

    def add_host(self, name: str, workers: int) -> Host:
        """A further supervisor, not started yet."""
        url = self.servers.url
        if self.setting.apart:
            url = self.servers.nodes[len(self.hosts) % len(self.servers.nodes)].url
        if name == self.setting.proxied:
            assert self.proxy is not None
            url = self.proxy.url
        variables = {"AETHER_MEMBER_TTL_S": str(MEMBER_TTL_S), "AETHER_FOLLOW_STORED": str(self.setting.follow)}
        if self.setting.bank:
            variables |= {OUTSIDE: self.outside.address, "AETHER_TASK_DRAIN_S": str(TASK_DRAIN_S)}
        if self.setting.shorten and self.servers.store is not None:
            variables |= {"AETHER_NATS_STORE": str(self.servers.store), "AETHER_SYNC": "barrier"}
        usual = SHORTENED_MODEL if self.setting.shorten else BANK_MODEL if self.setting.bank else MODEL
        model = self.setting.model or usual
        host = Host(name, url, self.namespace, self.directory, workers=workers, replicas=self.servers.replicas,
                    variables=variables, model=model)  # fmt: skip
        self.hosts[name] = host
        return host

    def running_hosts(self) -> list[Host]:
        """By name."""
        return [self.hosts[name] for name in sorted(self.hosts) if self.hosts[name].running]

    def workers(self) -> list[tuple[str, int, int]]:
        """Host, slot and pid of every live worker."""
        return [(host.name, slot, pid) for host in self.running_hosts() for slot, pid in sorted(host.workers().items())]

    async def serving(self, *hosts: Host) -> None:
        """Return when all wanted workers of these hosts live and have their rows among the members."""

        async def observed() -> bool:
            for host in hosts:
                if not host.running:
                    raise NotObserved(f"the supervisor {host.name} ended:\n{_tail(host.log)}")
                live = host.workers()
                if len(live) != host.wanted or not await self._are_members(host, live):
                    return False
            return True

        await until_answered(observed, SERVE_GUARD_S, f"all workers of {', '.join(host.name for host in hosts)}")

    # ------------------------------------------------------------------------------------------------ the load

    async def healed(self) -> None:
        """Return when every client has had an answer of every ledger to a call that began after this."""
        since_s = time.monotonic()
        guard_s = self.setting.heal_guard_s
        try:
            await until(lambda: not self._silent(since_s), guard_s, "an answer of every ledger to every client")
        except NotObserved as error:
            raise NotObserved(f"{error}; none between {self._silent(since_s)}") from None
        self.note(f"healed after {time.monotonic() - since_s:.1f} s")

    def _silent(self, since_s: float) -> list[tuple[str, str]]:
        for call in self.log.refresh():
            if call.outcome in (Outcome.REPLY, Outcome.REJECTED):
                pair = (call.client, call.actor)
                self._answered_s[pair] = max(self._answered_s[pair], call.started_s)
        return [pair for pair, answered_s in self._answered_s.items() if answered_s < since_s]

    async def end_load(self) -> None:
        """Let every client finish its call; afterwards `log.calls` is all of it."""
        load = self._load
        assert load is not None
        load.send(signal.SIGTERM)
        try:
            code = await load.ended(self.setting.deadline_s + 30.0)
            assert code == 0, f"the load ended with {code}:\n{_tail(self.directory / 'load.log')}"
        finally:
            load.kill()
            self.log.refresh()

    def note(self, text: str) -> None:
        """Remember what happened, and when."""
        self.happened.append(f"{time.monotonic() - self._began_s:7.2f} s  {text}")

    # ------------------------------------------------------------------------------------------------ life

    async def __aenter__(self) -> "World":
        try:
            await self.servers.start()
            if self.setting.shorten:
                await make_small_blocks(self.servers.url, self.namespace, self.servers.replicas)
            if self.setting.bank:
                await self.outside.__aenter__()
            if self.setting.proxied is not None:
                self.proxy = await Proxy(self.servers.nodes[0].port).__aenter__()
            for name, workers in self.setting.hosts.items():
                self.add_host(name, workers).start()
            await self.serving(*self.hosts.values())
            self._start_load()
            await self.healed()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    async def drain(self) -> None:
        """Have every host drain."""
        for host in self.running_hosts():
            code = await host.drained(DRAIN_GUARD_S)
            assert code == 0, f"{host.name} drained with {code}:\n{_tail(host.log)}"

    def _start_load(self) -> None:
        setting = self.setting
        self.log.path.touch()
        options = LoadOptions(
            url=self.servers.url, namespace=self.namespace, log=self.log.path, clients=setting.clients,
            ledgers=setting.ledgers, seed=self._seed, deadline_s=setting.deadline_s, pause_s=setting.pause_s,
        )  # fmt: skip
        program = "tests.chaos.bank.load" if setting.bank else "tests.chaos.load"
        self._load = Process([program, *options.to_arguments()], self.directory / "load.log", {})
        self._load.start()

    async def _close(self) -> None:
        if self._load is not None:
            self._load.kill()
        for host in self.hosts.values():
            host.kill()
        if self.proxy is not None:
            await self.proxy.__aexit__()
        if self.setting.bank:
            await self.outside.__aexit__()
        self.servers.close()

    async def _are_members(self, host: Host, live: Mapping[int, int]) -> bool:
        """Whether each worker's own row is in the table."""
        subjects = [f"$KV.AETHER_{self.namespace}_TABLE.member.{host.name}-{slot}" for slot in live]
        rows = await self._last_of(subjects)
        return [row.get("about", {}).get("pid") for row in rows] == list(live.values())

    async def _last_of(self, subjects: Sequence[str]) -> list[dict[str, Any]]:
        """The last value of each subject of the table; empty where there is none, or nobody to ask."""
        rows: list[dict[str, Any]] = []
        try:
            connection = await nats.connect(self.servers.url.split(","), allow_reconnect=False, connect_timeout=2)
        except (OSError, NatsError, TimeoutError):
            return rows
        try:
            for subject in subjects:
                request = json.dumps({"last_by_subj": subject}).encode()
                reply = await connection.request(f"$JS.API.STREAM.MSG.GET.{self.table}", request, timeout=ASK_TIMEOUT_S)
                rows.append(_row(reply.data))
        except (NatsError, TimeoutError):
            return []
        finally:
            await connection.close()
        return rows


def picked(dice: float, count: int) -> int:
    """Which of `count` a number in [0, 1) chooses."""
    return min(int(dice * count), count - 1)


def dice_of(seed: int) -> Random:
    """The one source of chance of a run."""
    return Random(seed)  # noqa: S311 - chance that must repeat


async def hold(for_s: float) -> None:
    """Leave a fault in place; its length is what the fault is."""
    await asyncio.sleep(for_s)


def _row(answer: bytes) -> dict[str, Any]:
    message = json.loads(answer).get("message") or {}
    value = base64.b64decode(message.get("data", ""))
    row = json.loads(value) if value else {}
    assert isinstance(row, dict)
    return row


def _tail(path: Path) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-20:]) if path.exists() else "(no log)"
