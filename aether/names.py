"""Every name of a subject, stream and bucket, and nowhere else; keys of the table's rows are in `aether.table_keys`.

A namespace is used as it is; kinds and keys are escaped so that any Unicode key is one subject token: every byte
outside `[A-Za-z0-9_-]` becomes `=XX` in upper-case hex. `shard_of` is the only placement hash (CRC-32, the same in
every process and language).
"""

import re
from sys import intern
from urllib.parse import quote
from zlib import crc32

from aether.errors import ConfigError, InvalidCommand
from aether.ids import ActorId, plain_text
from aether.recent import Recent

SHARDS_DEFAULT = 256
LAYOUT_VERSION = "1"
"""Version of this module's names and of the commit format, kept in the stream's metadata."""

METADATA_SHARDS = "aether.shards"
METADATA_LAYOUT = "aether.layout"

NAMES_KEPT = 131_072
"""Subjects whose actor is kept, and actors whose subject is: the last so many, at most twice as many."""

STORED_PREFIX = "stored."
"""The server repeats what it stored under this prefix."""

TOLD_PREFIX = "told."
"""The server repeats under this prefix the ticks that are due: their sequences are of another stream."""

TASK_PREFIX = "task="
"""In the inbox stream this and a task's name stand in place of a target shard."""

CLIENT_SOURCE = "client"
"""The source of tells that clients send, in place of a shard."""

PROBE = ActorId("aether", "probe")
"""An actor of no model: commits of it, stored or only begun, show what the server does with a commit."""

TASK_CONSUMER_PREFIX = "task_"

_PLAIN = re.compile(rb"[A-Za-z0-9_-]+")
_TOKEN = re.compile(r"(?:[A-Za-z0-9_-]|=[0-9A-F]{2})+")
_NAMESPACE = re.compile(r"[a-z0-9-]{1,32}")
_UNSAFE = re.compile(rb"[^A-Za-z0-9_-]")


def check_namespace(namespace: str) -> str:
    """The namespace itself, or `ConfigError`: `[a-z0-9-]`, 1-32 characters."""
    if _NAMESPACE.fullmatch(namespace) is None:
        raise ConfigError(f"a namespace is 1-32 characters of a-z, 0-9 and '-', not {namespace!r}", setting="namespace")
    return plain_text(namespace)


def encode_token(text: str) -> str:
    """Any text as one subject token. Lone surrogates raise `InvalidCommand`."""
    if text.isascii() and text.isalnum():  # most keys, and much less than a search
        return plain_text(text)
    try:
        raw = text.encode()
    except UnicodeEncodeError:
        raise InvalidCommand("a key cannot hold a lone surrogate", path="key") from None
    if _PLAIN.fullmatch(raw):
        return plain_text(text)
    return _UNSAFE.sub(lambda found: b"=%02X" % found.group()[0], raw).decode("ascii")


def decode_token(token: str) -> str:
    """The text that `encode_token` made into `token`; anything else raises `InvalidCommand`."""
    if "=" not in token and _TOKEN.fullmatch(token):
        return token
    if _TOKEN.fullmatch(token) is None:
        raise InvalidCommand(f"not a subject token: {token!r}", path="key")
    try:
        text = re.sub(rb"=(..)", lambda found: bytes.fromhex(found.group(1).decode()), token.encode()).decode()
    except UnicodeDecodeError:
        raise InvalidCommand(f"not the token of a UTF-8 text: {token!r}", path="key") from None
    if encode_token(text) != token:
        raise InvalidCommand(f"not the one spelling of {text!r}: {token!r}", path="key")
    return text


def shard_of(actor_id: ActorId, shards: int) -> int:
    """The shard of an actor: CRC-32 of the UTF-8 of the raw `kind/key`, modulo the number of shards."""
    return crc32(f"{actor_id.kind}/{actor_id.key}".encode()) % shards


def event_source(namespace: str, actor_id: ActorId) -> str:
    """The CloudEvents `source` of an actor's events: `/<namespace>/<kind>/<percent-encoded key>`."""
    key = actor_id.key
    return f"/{namespace}/{actor_id.kind}/{key if key.isascii() and key.isalnum() else quote(key, safe='')}"


def snapshot_key(actor_id: ActorId) -> str:
    """The actor's key in the snapshot bucket."""
    return f"{encode_token(actor_id.kind)}.{encode_token(actor_id.key)}"


def task_consumer(task: str) -> str:
    """The consumer of the inbox stream that hands out the starts of a task."""
    return f"{TASK_CONSUMER_PREFIX}{encode_token(task)}"


def task_of_consumer(consumer: str) -> str | None:
    """The task whose starts a consumer hands out; None for any other consumer."""
    token = consumer.removeprefix(TASK_CONSUMER_PREFIX)
    return decode_token(token) if consumer.startswith(TASK_CONSUMER_PREFIX) and _TOKEN.fullmatch(token) else None


class Names:
    """The names of one namespace.

    Built once by each process; raises `ConfigError` for a namespace that cannot be one.
    """

    def __init__(self, namespace: str, shards: int = SHARDS_DEFAULT) -> None:
        namespace = self.namespace = check_namespace(namespace)
        self.shards = shards
        self.stream = f"AETHER_{namespace}"
        self.inbox = f"AETHER_{namespace}_INBOX"
        self.timers = f"AETHER_{namespace}_TIMERS"
        self.table = f"AETHER_{namespace}_TABLE"
        self.snapshots = f"AETHER_{namespace}_SNAPSHOTS"
        self.checkpoints = f"AETHER_{namespace}_CHECKPOINTS"
        self.tasks = f"AETHER_{namespace}_TASKS"
        self._event = f"aether.{namespace}.evt."
        self._command = f"aether.{namespace}.cmd."
        self._tell = f"aether.{namespace}.tell."
        self._timer = f"aether.{namespace}.schedule."
        self._fired = f"aether.{namespace}.fired."
        self.tells_all = f"{self._tell}>"
        self.events_all = f"{self._event}>"
        self.stored_all = f"{STORED_PREFIX}aether.{namespace}.>"
        # Escaping, hashing and checking a name costs more than a look-up, and a worker meets the same actors again.
        self._tails: Recent[ActorId, str] = Recent(NAMES_KEPT)
        self._actors: Recent[str, ActorId] = Recent(NAMES_KEPT)

    def keep(self, actors: int) -> None:
        """Keep the names of at least so many actors: a worker's active ones are all looked up again and again."""
        self._tails.most = self._actors.most = max(actors, NAMES_KEPT)

    def stream_subjects(self) -> list[str]:
        """What the stream stores: commits, and nothing that is ever removed."""
        return [self.events_all]

    def event(self, actor_id: ActorId) -> str:
        """Where an actor's commits are."""
        return self._event + self._tail(actor_id)

    def command(self, actor_id: ActorId) -> str:
        """Where an actor's commands are sent."""
        return self._command + self._tail(actor_id)

    @property
    def commands_prefix(self) -> str:
        """How the subjects of all commands begin; it ends with a dot."""
        return self._command

    def commands_of_shard(self, shard: int) -> str:
        """What the owner of a shard subscribes to."""
        return f"{self._command}{shard}.>"

    def events_of_shard(self, shard: int) -> str:
        """All commits of a shard."""
        return f"{self._event}{shard}.>"

    def events_of_kind(self, kind: str, shard: int) -> str:
        """All commits of a kind's actors of a shard."""
        return f"{self._event}{shard}.{encode_token(kind)}.*"

    def events_of_kind_anywhere(self, kind: str) -> str:
        """All commits of a kind's actors, of every shard."""
        return f"{self._event}*.{encode_token(kind)}.*"

    def key_of_event(self, subject: str) -> str:
        """The key in a commit's subject. Raises `InvalidCommand` for what is none."""
        return decode_token(subject.rpartition(".")[2])

    def tell(self, target: int, source: int | str) -> str:
        """Where tells to a shard's actors from another shard's, or from clients, are stored."""
        return f"{self._tell}{target}.{source}"

    def tells_to(self, target: int) -> str:
        """All tells to a shard's actors."""
        return f"{self._tell}{target}.*"

    def tells_from(self, source: int) -> str:
        """All tells and task starts from a shard's actors, and the shard's relay mark."""
        return f"{self._tell}*.{source}"

    def task(self, task: str, source: int) -> str:
        """Where the starts of a task by a shard's actors are stored. `tells_from` has it too."""
        return f"{self._tell}{TASK_PREFIX}{encode_token(task)}.{source}"

    def task_starts(self, task: str) -> str:
        """All starts of a task."""
        return f"{self._tell}{TASK_PREFIX}{encode_token(task)}.*"

    def is_sent(self, subject: str) -> bool:
        """Whether a subject of the inbox stream is of tells or task starts, and not of marks."""
        place = subject.removeprefix(self._tell).partition(".")[0]
        return place.isdecimal() or place.startswith(TASK_PREFIX)

    @property
    def tells_prefix(self) -> str:
        """How the subjects of the inbox stream begin; it ends with a dot."""
        return self._tell

    def tells_and_starts(self) -> str:
        """All tells and starts of tasks, and marks."""
        return f"{self._tell}*.*"

    def task_of_start(self, subject: str) -> str | None:
        """The task that a subject of the inbox stream is of starts of; None for any other."""
        place = subject.removeprefix(self._tell).partition(".")[0]
        return decode_token(place.removeprefix(TASK_PREFIX)) if place.startswith(TASK_PREFIX) else None

    def target_of_tell(self, subject: str) -> int:
        """The shard that a subject of the inbox stream is of tells to; -1 for any other."""
        target = subject.removeprefix(self._tell).partition(".")[0]
        return int(target) if target.isdecimal() else -1

    def shard_of_event(self, subject: str) -> int:
        """The shard of a commit's subject; -1 for any other."""
        shard = subject.removeprefix(self._event).partition(".")[0]
        return int(shard) if shard.isdecimal() else -1

    def relay_mark(self, shard: int) -> str:
        """Where the owner of a shard says up to where its tells are relayed. `tells_from` has it too."""
        return f"{self._tell}mark.{shard}"

    def relay_marks(self) -> str:
        """All of these."""
        return f"{self._tell}mark.*"

    def applied_mark(self, shard: int) -> str:
        """Where the owner of a shard says up to where the tells to it are applied."""
        return f"{self._tell}applied-to.{shard}"

    def dead_letter(self, sequence: int) -> str:
        """Where it is written what became of a tell that was given up, by its sequence in the inbox stream."""
        return f"{self._tell}dead.letter.{sequence}"

    def dead_letters(self) -> str:
        """All of these."""
        return f"{self._tell}dead.letter.*"

    def sent_again(self, target: int, sequence: int) -> str:
        """Where a dead letter is stored when it is sent again: once. `tells_to` has it too."""
        return f"{self._tell}{target}.retry={sequence}"

    def inbox_passed(self) -> str:
        """Where it is written that the inbox stream went back, and up to where its sequences are passed."""
        return f"{self._tell}passed"

    def inbox_filler(self) -> str:
        """Where the messages without content are stored that pass them."""
        return f"{self._tell}filler"

    def timer(self, actor_id: ActorId, name: str) -> str:
        """Where an actor's schedule of this name waits for its next tick."""
        return f"{self._timer}{self._tail(actor_id)}.{encode_token(name)}"

    def timers_of(self, kind: str = "", key: str = "") -> str:
        """Where the schedules of an actor, of a kind, or all of them wait."""
        if key:
            return f"{self._timer}{self._tail(ActorId(kind, key))}.*"
        return f"{self._timer}*.{encode_token(kind)}.>" if kind else f"{self._timer}>"

    def fired(self, shard: int) -> str:
        """Where the ticks of a shard's actors come that are due."""
        return f"{self._fired}{shard}"

    def timers_subjects(self) -> list[str]:
        """What the stream of timers stores: schedules, and ticks that are due."""
        return [f"{self._timer}>", self.fired_all()]

    def fired_all(self) -> str:
        """The ticks of all shards that are due."""
        return f"{self._fired}>"

    def told(self, subject: str) -> str:
        """Where the server repeats what it stored on a subject of the stream of timers."""
        return TOLD_PREFIX + subject

    def stored(self, subject: str) -> str:
        """Where the server repeats what it stored on `subject`."""
        return STORED_PREFIX + subject

    def owners(self) -> str:
        """Where a worker says which shards it has begun to serve."""
        return f"aether.{self.namespace}.owners"

    def status(self) -> str:
        """Where each worker answers how it is."""
        return f"aether.{self.namespace}.status"

    def metrics(self) -> str:
        """Where each worker answers what it has measured."""
        return f"aether.{self.namespace}.metrics"

    def waiting_tells(self) -> str:
        """Where each worker answers which tells wait at it."""
        return f"aether.{self.namespace}.waiting-tells"

    def durable(self) -> str:
        """Where a worker answers whether the stream is on the disk up to a position."""
        return f"aether.{self.namespace}.durable"

    def inbox_durable(self) -> str:
        """The same for the inbox stream."""
        return f"aether.{self.namespace}.durable-inbox"

    def info(self) -> str:
        """Where the pool answers questions about itself: its model's schema."""
        return f"aether.{self.namespace}.info"

    def parse_event(self, subject: str) -> ActorId:
        """The actor of a commit's subject, stored or broadcast; `InvalidCommand` for any other."""
        return self._parse(subject.removeprefix(STORED_PREFIX), self._event)

    def actor_of_event(self, subject: str) -> ActorId | None:
        """The actor of a stored message, stored or broadcast; None for what is no commit of this namespace.

        Raises `InvalidCommand` for a commit's subject that names no actor.
        """
        stored = subject.removeprefix(STORED_PREFIX)
        return self._parse(stored, self._event) if stored.startswith(self._event) else None

    def parse_command(self, subject: str) -> ActorId:
        """The actor of a command's subject; `InvalidCommand` for any other subject."""
        return self._parse(subject, self._command)

    def _tail(self, actor_id: ActorId) -> str:
        tail = self._tails.get(actor_id)
        if tail is None:
            # A kind is a token as it is.
            tail = f"{shard_of(actor_id, self.shards)}.{actor_id.kind}.{encode_token(actor_id.key)}"
            self._tails.put(actor_id, tail)
        return tail

    def _parse(self, subject: str, prefix: str) -> ActorId:
        tail = subject[len(prefix) :]
        known = self._actors.get(tail) if subject.startswith(prefix) else None
        if known is not None:
            return known
        tokens = tail.split(".")
        if len(tokens) != 3 or not subject.startswith(prefix):
            raise InvalidCommand(f"not a subject below {prefix}: {subject!r}", path="subject")
        actor_id = ActorId(intern(decode_token(tokens[1])), decode_token(tokens[2]))
        shard = shard_of(actor_id, self.shards)
        if tokens[0] != str(shard):
            raise InvalidCommand(f"{actor_id} is of shard {shard}, not of {tokens[0]!r}", path="subject")
        self._actors.put(tail, actor_id)
        self._tails.put(actor_id, tail)  # one string for both: a worker that receives for an actor also writes for it
        return actor_id


def namespace_of_stream(stream: str) -> str | None:
    """The namespace whose stream this is, or None for a stream that is not one of Aether's."""
    namespace = stream.removeprefix("AETHER_")
    return namespace if stream.startswith("AETHER_") and _NAMESPACE.fullmatch(namespace) else None
