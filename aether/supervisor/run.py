"""`run`: from options to a running pool and its exit code, for `aether run` and for `python -m aether.supervisor`.

Called once, from the main thread of a process that then exits. It imports the model before the first fork, so that all
workers share it, and runs again in the fresh interpreter of a reload.
"""

import faulthandler
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from aether.config import (
    EXIT_CANNOT_BOOT,
    EXIT_CONFIGURATION,
    EXIT_NOT_DRAINED,
    EXIT_SYNC_FAILED,
    ClusterConfig,
    ConnectionConfig,
    LogConfig,
    RuntimeConfig,
    StorageConfig,
    from_environment,
    parsed,
)
from aether.errors import AetherError, ConfigError, ModelError
from aether.model.address import load_model
from aether.model.model import Model
from aether.names import check_namespace
from aether.supervisor.check import VARIABLE as CHECK_VARIABLE
from aether.supervisor.check import prove
from aether.supervisor.child import Work
from aether.supervisor.console import Console
from aether.supervisor.durability import why_no_sync_barrier
from aether.supervisor.gateway_program import gateway_program, listen_for_gateway
from aether.supervisor.handover import VARIABLE, Handover, take_over
from aether.supervisor.notify import watchdog_s
from aether.supervisor.options import RunOptions
from aether.supervisor.source_watch import imported_source_watch
from aether.supervisor.state import RenewFailed, SupervisorConfig
from aether.supervisor.supervisor import SupervisorContext, supervise
from aether.system.block_files import forget_cached, why_not_lasting
from aether.system.embedded import EmbeddedConfig, EmbeddedServer, shut_down, start
from aether.system.environment import (
    current_directory,
    environment,
    import_from_here,
    take_variable,
)
from aether.system.node_claim import NodeClaim, claim_node
from aether.system.process import leave, mend_standard_streams, time_limit
from aether.system.shared_failure import SharedFailure
from aether.worker.settings import WorkerSettings
from aether.worker.worker import run_worker
from aether.worker_barrier import DISK_FAILED
from aether.worker_protocol import WorkerSpec

SILENT_KILL_MIN_S = 2.0
"""A worker says twice a second that it lives, if the machine lets it."""

EMBEDDED = "embedded"
EMBEDDED_MEMBER_TTL = "5"
"""Seconds. It may be short: while the one server of this machine is away, no other member can decide anything."""


def run(options: RunOptions) -> int:
    """Run the pool until it is asked to stop: 0 drained, 1 killed before it had, 3 cannot boot, 4 configuration,
    5 what is stored cannot be made durable any more.
    """
    mend_standard_streams()
    say = Console()
    try:
        say = _voice(options, environment())
        return _check(options) if options.check else _run(options)
    except KeyboardInterrupt:  # before the supervisor handles signals
        say("interrupted while it started", "WARNING")
        return EXIT_NOT_DRAINED
    except (ConfigError, ModelError) as error:
        say(str(error), "ERROR")
        return EXIT_CONFIGURATION
    except AetherError as error:
        say(str(error), "ERROR")
        return EXIT_SYNC_FAILED if error.details.get(DISK_FAILED) else EXIT_CANNOT_BOOT


def _voice(options: RunOptions, variables: Mapping[str, str]) -> Console:
    return Console(_log_config(options, variables))


def _log_config(options: RunOptions, variables: Mapping[str, str]) -> LogConfig:
    return from_environment(LogConfig, variables, level=options.log_level, format=options.log_format)


def _check(options: RunOptions) -> int:
    asked_by_supervisor = take_variable(CHECK_VARIABLE)
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    _load(options)
    if asked_by_supervisor is not None:
        prove(asked_by_supervisor)
    return 0


def _run(options: RunOptions) -> int:
    handover = take_over(take_variable(VARIABLE))
    variables = environment()
    config = SupervisorConfig(
        workers=options.workers,
        drain_timeout_s=options.drain_timeout_s,
        loop_silent_kill_s=silent_kill_s(options, variables),
        check_timeout_s=options.check_timeout_s,
        watchdog_s=watchdog_s(variables.get("WATCHDOG_USEC", ""), variables.get("WATCHDOG_PID", ""), os.getpid()),
    )
    directory = current_directory()
    # What the model changes when it is imported, the current directory too, does not change where the pool is.
    options = replace(options, data_dir=directory / options.data_dir)
    if store := variables.get("AETHER_NATS_STORE"):
        variables = {**variables, "AETHER_NATS_STORE": str(directory / store)}
    if handover is not None:
        return _continue(options, config, directory, variables, handover)
    say, began_ns = _voice(options, variables), _now_ns(options)
    listening = listen_for_gateway(options, directory)
    work = _Work(options, variables, _load(options), SharedFailure())
    node = claim_node(options.data_dir, work.namespace, options.node or variables.get("AETHER_NODE"))
    if node.lock_fd is None:
        say(f"nothing can be locked in {options.data_dir}: the node {node.name!r} goes without", "WARNING")
    if work.embedded and work.storage.nats_store:
        say("AETHER_NATS_STORE is left out: it is of a server that --nats or AETHER_NATS_URL names", "WARNING")
    server, why_no_barrier = _made_durable(options, work)
    options = replace(options, sync=work.storage.sync)
    say(_promises(work, server))
    if why_no_barrier:
        say(f"commits are not made durable by a sync of the workers: {why_no_barrier}", "WARNING")
    if work.storage.nats_store and (why := why_not_lasting(Path(work.storage.nats_store))):
        say(f"what is stored may be lost in a power cut, synced or not: {why}", "WARNING")
    if options.dev and listening is not None:
        if listening.instead_of:
            say(f"another program listens at {listening.instead_of}, so a free port is taken", "WARNING")
        say(f"the dashboard is at {listening.url}/ui/; what is saved is loaded; Ctrl-C ends it")
    gateway_fd = None if listening is None else listening.fd
    context = _context(options, directory, variables, work.namespace, node, server, gateway_fd)
    context = replace(context, sync_failure=work.settings.sync_failure)
    return _supervised(config, work, context, began_ns)


def _continue(
    options: RunOptions, config: SupervisorConfig, directory: Path, variables: Mapping[str, str], handover: Handover
) -> int:
    """Go on as the fresh interpreter of a reload. Its workers live and serve, whatever the new code does now."""
    server = handover.server
    context = _context(
        options, directory, variables, options.namespace or "", handover.node, server, handover.gateway_fd
    )
    # Also for workers that load the model themselves; those of the interpreter before have the same one.
    began_ns, sync_failure = _now_ns(options), SharedFailure(handover.sync_failure_fd)
    context = replace(context, sync_failure=sync_failure)

    def loaded() -> _Work:
        work = _Work(options, variables, _load(options), sync_failure)
        if server is not None:
            work.configure(server.url, store=server.directory, sync="server" if server.always else "barrier")
        else:
            work.configure()
        return work

    try:
        with time_limit(config.check_timeout_s):
            work = loaded()
    except BaseException as error:  # the signals of this process are blocked: it is the model's
        failed = RenewFailed(f"the new code loaded a moment ago and does not now: {error!s}")
        work_later = partial(_load_and_work, options, loaded)
        return _supervised(config, work_later, context, began_ns, handover, failed)
    return _supervised(config, work, context, began_ns, handover)


def _supervised(
    config: SupervisorConfig,
    work: Work,
    context: SupervisorContext,
    began_ns: int | None,
    handover: Handover | None = None,
    first: RenewFailed | None = None,
) -> int:
    """The exit code of the pool. This process leaves at once where the model has threads that never end."""
    if began_ns is not None:
        context = replace(context, sources=imported_source_watch(began_ns, context.directory))
    code = supervise(config, work, context, handover, first)
    store = context.variables.get("AETHER_NATS_STORE")
    if code == EXIT_SYNC_FAILED and context.server is None and store:
        forget_cached(Path(store))  # the next server is to read what the disk has
    if any(not thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread()):
        leave(code)
    return code


def _now_ns(options: RunOptions) -> int | None:
    """When the import of the model begins, if it matters: what is saved later is imported again."""
    return time.time_ns() if options.reload else None


def _load_and_work(options: RunOptions, loaded: Callable[[], "_Work"], spec: WorkerSpec) -> int:
    """What a worker does that must be replaced while the code of this interpreter does not load: try once more."""
    try:
        work = loaded()
    except AetherError as error:
        _voice(options, environment())(str(error), "ERROR")
        return EXIT_CANNOT_BOOT
    return work(spec)


def _nats(options: RunOptions, variables: Mapping[str, str]) -> str:
    return options.nats or variables.get("AETHER_NATS_URL") or EMBEDDED


def _cluster_config(options: RunOptions, variables: Mapping[str, str]) -> ClusterConfig:
    defaults = {"AETHER_MEMBER_TTL_S": EMBEDDED_MEMBER_TTL} if _nats(options, variables) == EMBEDDED else {}
    return from_environment(ClusterConfig, {**defaults, **variables})


def silent_kill_s(options: RunOptions, variables: Mapping[str, str]) -> float:
    """How long a loop may be silent: as given, else four fifths of the time in which a member answers.

    Raises `ConfigError` for a time after which another worker may already run what hangs.
    """
    answers_for_s = _cluster_config(options, variables).answers_for_s
    given_s = options.loop_silent_kill_s
    if given_s is None and (text := variables.get("AETHER_LOOP_SILENT_KILL_S")) is not None:
        given_s = parsed("AETHER_LOOP_SILENT_KILL_S", text, float)
    if given_s is None:
        return max(SILENT_KILL_MIN_S, 0.8 * answers_for_s)
    if not SILENT_KILL_MIN_S <= given_s < answers_for_s:
        raise ConfigError(
            f"loop_silent_kill_s must be at least {SILENT_KILL_MIN_S:g} and under {answers_for_s:g} (the time to live "
            f"of a member's row less its margin), not {given_s:g}: later another worker may run what hangs here",
            setting="loop_silent_kill_s",
        )
    return given_s


class _Work:
    """What each worker does, with the settings that all share; made before the fork."""

    def __init__(
        self, options: RunOptions, variables: Mapping[str, str], model: Model, sync_failure: SharedFailure
    ) -> None:
        self._options = options
        self._variables = variables
        self._model = model
        self._sync_failure = sync_failure
        self.namespace = check_namespace(options.namespace or variables.get("AETHER_NAMESPACE") or model.name)
        given = _nats(options, variables)
        self.embedded = given == EMBEDDED
        self.cluster = _cluster_config(options, variables)
        self.storage = from_environment(StorageConfig, variables, shards=options.shards, replicas=options.replicas,
                                        sync=options.sync)  # fmt: skip
        if self.embedded and self.storage.replicas > 1:
            raise ConfigError("one embedded server holds one replica; --replicas needs a cluster", setting="replicas")
        self.url = given
        self.configure()

    def configure(self, url: str = "", *, store: Path | None = None, sync: str = "") -> None:
        """Make the settings, with what is known by now: where the server is, and who makes commits durable."""
        self.url = url or self.url
        nats_store = self.storage.nats_store if store is None else str(store)
        self.storage = replace(self.storage, nats_store=nats_store, sync=sync or self.storage.sync)
        self.settings = WorkerSettings(
            namespace=self.namespace,
            connection=from_environment(ConnectionConfig, self._variables, url=self.url),
            storage=self.storage,
            runtime=from_environment(RuntimeConfig, self._variables),
            cluster=self.cluster,
            log=_log_config(self._options, self._variables),
            sync_failure=self._sync_failure,
        )

    def __call__(self, spec: WorkerSpec) -> int:
        return run_worker(self._model, spec, self.settings)


def _load(options: RunOptions) -> Model:
    import_from_here()
    model = load_model(options.model)
    threads = threading.active_count() - 1
    if threads and not options.check:
        text = (
            f"{options.model} started {threads} thread{'s' * (threads > 1)} when it was imported; workers are forked "
            "without them: start threads where a handler needs them"
        )
        _voice(options, environment())(text, "WARNING")
    return model


def _made_durable(options: RunOptions, work: _Work) -> tuple[EmbeddedServer | None, str]:
    """Decide who makes commits durable, and start the server accordingly; with why it is not the workers, if asked.

    Raises `ConfigError` when it was to be the workers and cannot be.
    """
    asked = work.storage.sync
    if not work.embedded:
        if asked == "server" or (asked == "auto" and not work.storage.nats_store):
            work.configure(sync="server")
            return None, ""
        if not work.storage.nats_store:
            text = "a sync barrier needs AETHER_NATS_STORE: the store_dir of a server that is on this machine"
            raise ConfigError(text, setting="nats_store")
        why = _why_no_barrier(work)
        work.configure(sync="server" if why else "barrier")
        return None, why
    server = _embedded(options, always=asked == "server")
    try:
        work.configure(server.url, store=server.directory)
        why = "" if server.always else _why_no_barrier(work)
    except BaseException:
        shut_down(server)
        raise
    if why:
        shut_down(server)
        server = _embedded(options, always=True)
    work.configure(server.url, sync="server" if server.always else "barrier")
    return server, why


def _why_no_barrier(work: _Work) -> str:
    """Why it cannot be the workers who make commits durable. Raises `ConfigError` when it must be."""
    settings = work.settings
    why = why_no_sync_barrier(settings.connection, settings.namespace, settings.storage)
    if why and settings.storage.sync == "barrier":
        raise ConfigError(f"workers cannot make commits durable here: {why}", setting="sync")
    return why


def _embedded(options: RunOptions, *, always: bool) -> EmbeddedServer:
    return start(EmbeddedConfig(data_dir=options.data_dir, port=options.port, always=always))


def _context(
    options: RunOptions, directory: Path, variables: Mapping[str, str], namespace: str, node: NodeClaim,
    server: EmbeddedServer | None, gateway_fd: int | None,
) -> SupervisorContext:  # fmt: skip
    # The namespace is decided once: the lock is for it, and the new code's model may be named otherwise.
    options = replace(options, namespace=namespace)
    # -P: the current directory may hold a package of the same name as ours, and must come after it.
    program = (sys.executable, "-P", "-m", "aether.supervisor", *options.to_arguments())
    gateway = None
    if gateway_fd is not None:
        url = _nats(options, variables) if server is None else server.url
        gateway = gateway_program(options, directory, variables, namespace, url, gateway_fd)
    return SupervisorContext(
        namespace=namespace,
        node=node,
        server=server,
        check=(*program, "--check"),
        fresh=program,
        directory=directory,
        variables=variables,
        say=_voice(options, variables),
        gateway=gateway,
    )


def _promises(work: _Work, server: EmbeddedServer | None) -> str:
    """What is durable when a command is answered, as a line for the log."""
    replicas, where = work.storage.replicas, f"NATS at {_without_password(work.url)}"
    if server is not None:
        where = f"embedded nats-server {server.version} at {server.url}, data in {server.directory}"
    lasting = "a lost disk is lost history" if replicas == 1 else f"it outlives {(replicas - 1) // 2} lost servers"
    if work.storage.sync == "barrier":
        kept = f"sync barrier: what is answered was synced to this machine's disk; {lasting}"
    elif server is not None:
        kept = f"sync_interval always: what is answered was synced to this machine's disk; {lasting}"
    else:
        copies = f"{replicas} replica{'s' * (replicas > 1)}"
        kept = (f"what is answered is what the server acknowledges ({copies}: {lasting}); its sync_interval cannot be "
                "seen from here, and its default syncs every 2 minutes")  # fmt: skip
    return f"namespace {work.namespace}, {where}; {kept}"


def _without_password(url: str) -> str:
    return ",".join(part.rpartition("@")[2] if "@" in part else part for part in url.split(","))
