"""Dead letters and tells that wait: a page of all, forms to send one or many again or drop one, a part of an actor's
page.

To send a dead letter again needs what the command itself needs, as if the visitor told it; to drop one needs `admin`.
A form names a dead letter by its id: whose it is and what it runs is read from the store, not from the form.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aether.dead_letters import DeadLetter
from aether.errors import DeadlineExceeded, InvalidCommand, Overloaded, Unavailable
from aether.gateway.access import Role
from aether.gateway.config import GatewayConfig
from aether.gateway.dashboard.browser import form_of
from aether.gateway.dashboard.failure_pages import ago
from aether.gateway.dashboard.numbers import Numbers
from aether.gateway.dashboard.pages import Pages, Visit
from aether.gateway.dashboard.rights import DROP_DEAD_LETTER, Rights
from aether.gateway.dashboard.soon import soon
from aether.gateway.dashboard.trees import shown
from aether.gateway.problems import HttpProblem, http_problem
from aether.gateway.requests import read_body
from aether.ids import COMMAND_ID_CHARS_MAX, ActorId
from aether.untyped_client import VERSION_MAX, UntypedClient
from aether.waiting_tells import WaitingTells

LETTERS_BYTES_MAX = 45_000
"""About how large the list of dead letters is in a page."""

WAITING_BYTES_MAX = 25_000

KINDS_SHOWN_MAX = 12
"""Commands that the page counts by name."""

OF_ACTOR_MAX = 5
"""Dead letters on the page of an actor."""

TEXT_CHARS_MAX = 400
"""Of an error's text and of arguments."""

FORM_BYTES_MAX = 8_192

RETRY_MAX = 200
"""Dead letters that one form sends again at most."""

AGREES_S = 8.0
"""So long the overview says what this page has counted: workers count every 5 s, and are asked every 1.5 s."""

CHOSEN = "letter-"
"""A field's name begins with this and ends with the id of a dead letter that was chosen."""

_PUBLIC = frozenset({"rejected", "invalid_command"})
"""Errors whose text the actor meant for callers."""


@dataclass(frozen=True, slots=True)
class ShownLetter:
    """One dead letter as a page shows it. `may_retry`, `may_drop`: there is a button for it.

    `correlation_id` is "" where no trace can be asked for: another program may have told it with one of any length.
    """

    id: int
    actor_id: ActorId
    command: str
    args: str
    error: str
    message: str
    failures: int
    time: datetime
    ago: str
    source: ActorId | None
    command_id: str
    correlation_id: str
    retrying: bool
    may_retry: bool
    may_drop: bool


@dataclass(frozen=True, slots=True)
class ShownWaiting:
    """What waits for one actor as a page shows it."""

    actor_id: ActorId
    command: str
    count: int
    waits: str
    failures: int
    error: str
    message: str
    member: str


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a form."""

    good: bool
    text: str


class LetterPages:
    """What pages show of the inbox."""

    def __init__(
        self, client: UntypedClient, numbers: Numbers, config: GatewayConfig, pages: Pages, rights: Rights
    ) -> None:
        self._client = client
        self._numbers = numbers
        self._config = config
        self._pages = pages
        self._rights = rights
        self._counted = (-AGREES_S, 0)

    async def show(self, visit: Visit) -> None:
        """The page."""
        await self._show(visit, None)

    async def send(self, visit: Visit) -> None:
        """Do what a form asks for with a dead letter, and show the page. A problem when the visitor may not."""
        exchange = visit.exchange
        body = await read_body(exchange.receive, exchange.headers, FORM_BYTES_MAX, self._config.body_timeout_s)
        fields = form_of(body, exchange.headers)
        act = fields.get("do", "")
        if act in ("retry-all", "retry-chosen"):
            done, gone = await self._retry_many(visit, _wanted(fields, chosen=act == "retry-chosen"))
            await self._show(visit, done, gone)
            return
        if act not in ("retry", "drop"):
            raise InvalidCommand(f"it is retry, retry-all, retry-chosen or drop, not {act[:40]!r}", path="do")
        id = _id(fields.get("id", ""))
        try:
            letter = await self._client.dead_letter(id, deadline_s=self._config.deadline_s)
            done = await (self._retry(visit, letter) if act == "retry" else self._drop(visit, letter))
        except InvalidCommand as error:
            await self._show(visit, Done(False, error.message), status=http_problem(error).status)
            return
        await self._show(visit, done, frozenset({id}))

    def known_count(self) -> int | None:
        """How many dead letters there were when this page was last shown; None when that is long ago.

        Workers count them every few seconds only: meanwhile who comes from this page sees what it has shown.
        """
        at_s, count = self._counted
        return count if asyncio.get_running_loop().time() - at_s < AGREES_S else None

    async def of_actor(self, visit: Visit, actor_id: ActorId) -> dict[str, Any]:
        """What an actor's page shows: its own; None when the workers or the store do not say them soon."""
        letters = await soon(self._of_actor(visit, actor_id))
        if letters is None:
            return {"letters": None, "more_letters": 0}
        sees = bool(letters) and await self._rights.may_see_errors(visit)
        found = [await self._letter(visit, one, sees) for one in letters[:OF_ACTOR_MAX]]
        return {"letters": found, "more_letters": len(letters) - len(found)}

    async def _of_actor(self, visit: Visit, actor_id: ActorId) -> list[DeadLetter] | None:
        last = await self._numbers.latest()
        if not last.readings.total("aether_dead_letters"):
            return None if last.missing else []
        letters, _ = await self._read(visit, actor_id.kind, actor_id.key)
        return letters

    # ------------------------------------------------------------------------------------------------ what is done

    async def _retry(self, visit: Visit, letter: DeadLetter) -> Done:
        to = letter.actor_id
        caller = await self._rights.caller(visit.exchange, Role.CALL, to.kind, to.key, letter.command)
        by, deadline_s = _by(caller), self._config.deadline_s
        receipt = await self._client.retry_dead_letter(letter.id, by=by, deadline_s=deadline_s)
        return Done(True, f"{letter.command} was sent to {to} again, as the command {receipt.command_id}.")

    async def _retry_many(self, visit: Visit, wants: Callable[[DeadLetter], bool]) -> tuple[Done, frozenset[int]]:
        """Send dead letters of this page again, the oldest first: what was done, and which of them are over.

        At most `RETRY_MAX`, and for half the time that a request has. A problem when the visitor may send none again.
        """
        kind, key = visit.options.text("kind") or None, visit.options.text("key") or None
        begun_s = asyncio.get_running_loop().time()
        letters, _ = await self._read(visit, kind, key)
        wanted = [one for one in letters if wants(one)]
        over: set[int] = set()
        refused: HttpProblem | None = None
        sent = failed = 0
        for letter in wanted[:RETRY_MAX]:
            if asyncio.get_running_loop().time() - begun_s > self._config.deadline_s / 2:
                break
            try:
                await self._retry(visit, letter)
            except HttpProblem as problem:
                refused = problem
            except InvalidCommand as error:
                if "state" in error.details:
                    over.add(letter.id)  # another one was quicker
                    continue
            except (Unavailable, DeadlineExceeded, Overloaded):
                if not sent:
                    raise
                break
            else:
                over.add(letter.id)
                sent += 1
                continue
            failed += 1
        if refused is not None and not sent:
            raise refused
        left = len(wanted) - len(over) - failed
        return Done(sent > 0, _many_in_words(sent, failed, left)), frozenset(over)

    async def _drop(self, visit: Visit, letter: DeadLetter) -> Done:
        to = letter.actor_id
        caller = await self._rights.caller(visit.exchange, Role.ADMIN, to.kind, to.key, DROP_DEAD_LETTER)
        await self._client.drop_dead_letter(letter.id, by=_by(caller), deadline_s=self._config.deadline_s)
        return Done(True, f"{letter.command} to {to} was dropped. The actor's history keeps it.")

    # ------------------------------------------------------------------------------------------------ what is shown

    async def _show(
        self, visit: Visit, done: Done | None, gone: frozenset[int] = frozenset(), status: int = 200
    ) -> None:
        """The page. `gone`: dead letters that are not shown, because a replica may not know yet what became of them."""
        kind, key = visit.options.text("kind") or None, visit.options.text("key") or None
        after = visit.options.number("after", 0, 0, VERSION_MAX) or 0
        sees = await self._rights.may_see_errors(visit)
        (every, others), (lines, left_out) = await asyncio.gather(
            self._read(visit, kind, key), self._client.waiting_tells(deadline_s=self._config.deadline_s)
        )
        every = [one for one in every if one.id not in gone]
        self._counted = asyncio.get_running_loop().time(), len(every) + others
        named = (f"{one.actor_id.kind}.{one.command}" for one in every if len(one.command) <= TEXT_CHARS_MAX)
        counts = Counter(named).most_common()
        following = [one for one in every if one.id > after]
        letters: list[ShownLetter] = []
        room = LETTERS_BYTES_MAX
        for one in following:
            if room < 0:
                break
            letters.append(await self._letter(visit, one, sees))
            room -= _letter_bytes(letters[-1], key or "")
        waiting, more_waiting = await self._waiting(visit, lines, kind, key, sees)
        await self._pages.answer(
            visit,
            "dead_letters.html",
            status=status,
            kind=kind,
            key=key,
            done=done,
            letters=letters,
            total=len(every),
            retry_max=RETRY_MAX,
            may_retry=any(one.may_retry for one in letters),
            counts=counts[:KINDS_SHOWN_MAX],
            more_counts=len(counts) - KINDS_SHOWN_MAX,
            after=after,
            next_after=letters[-1].id if len(letters) < len(following) else None,
            waiting=waiting,
            more_waiting=more_waiting + left_out,
            tells=sum(one.count for one in waiting),
            sees=sees,
            now=datetime.now(UTC),
        )

    async def _read(self, visit: Visit, kind: str | None, key: str | None) -> tuple[list[DeadLetter], int]:
        """The dead letters that are asked for and that this visitor may see, the oldest first; how many others are."""
        readable: dict[str, bool] = {}
        found, others = [], 0
        async for letter in self._client.dead_letters(deadline_s=self._config.deadline_s):
            of = letter.actor_id
            if of.kind not in readable:
                readable[of.kind] = await self._rights.may_read(visit, of.kind)
            if readable[of.kind] and kind in (None, of.kind) and key in (None, of.key):
                found.append(letter)
            else:
                others += 1
        return found, others

    async def _letter(self, visit: Visit, one: DeadLetter, sees: bool) -> ShownLetter:
        to, error = one.actor_id, one.error
        return ShownLetter(
            one.id,
            to,
            _cut(one.command),
            _cut(shown(one.args)),
            error.code,
            _cut(str(error)) if sees or error.code in _PUBLIC else "",
            one.failures,
            one.at,
            ago((datetime.now(UTC) - one.at).total_seconds()),
            one.source,
            _cut(one.command_id),
            one.correlation_id if len(one.correlation_id) <= COMMAND_ID_CHARS_MAX else "",
            one.retrying,
            await self._rights.may(visit, Role.CALL, to.kind, to.key, one.command),
            await self._rights.may(visit, Role.ADMIN, to.kind, to.key, DROP_DEAD_LETTER),
        )

    async def _waiting(
        self, visit: Visit, lines: Sequence[WaitingTells], kind: str | None, key: str | None, sees: bool
    ) -> tuple[list[ShownWaiting], int]:
        """What waits, as much as there is room for, and for how many more actors something does."""
        named = [(one, ActorId(*one.actor.split("/", 1))) for one in lines]
        wanted = await self._rights.readable(visit, named, kind, key)
        found: list[ShownWaiting] = []
        room = WAITING_BYTES_MAX
        for one, to in wanted:
            if room < 0:
                break
            code, message = ("", "") if one.error is None else (one.error.code, one.error.message)
            text = _cut(message) if sees or code in _PUBLIC else ""
            found.append(
                ShownWaiting(to, one.command, one.count, ago(one.waits_s), one.failures, code, text, one.member)
            )
            room -= 500 + 7 * len(to.key.encode()) + 5 * len(text.encode())
        return found, len(wanted) - len(found)


def _id(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < len(text) <= 19):
        raise InvalidCommand(f"the id of a dead letter is a whole number from 1, not {text[:40]!r}", path="id")
    return int(text)


def _wanted(fields: Mapping[str, str], *, chosen: bool) -> Callable[[DeadLetter], bool]:
    """Which dead letters a form wants sent again: those that were chosen, or those of a command, or all."""
    if chosen:
        ids = {_id(name.removeprefix(CHOSEN)) for name in fields if name.startswith(CHOSEN)}
        if not ids:
            raise InvalidCommand("no dead letter is chosen", path="do")
        return lambda letter: letter.id in ids
    of = fields.get("of", "")
    return lambda letter: of in ("", f"{letter.actor_id.kind}.{letter.command}")


def _many_in_words(sent: int, failed: int, left: int) -> str:
    said = f"{sent:,} dead letter{'s were' if sent != 1 else ' was'} sent again."
    if failed:
        said += f" {failed:,} could not be: they are listed below; send one alone to see why."
    if left > 0:
        said += f" {left:,} more are left: press again."
    return said


def _by(caller: str) -> str:
    """Who does it, for the log: the name of the token, if it has one."""
    return f"{caller}@dashboard"


def _cut(text: str) -> str:
    return text if len(text) <= TEXT_CHARS_MAX else f"{text[:TEXT_CHARS_MAX]}…"


def _letter_bytes(one: ShownLetter, key: str) -> int:
    """What a dead letter takes at most: a character is five bytes as text, three for each of UTF-8 in an address."""
    source = "" if one.source is None else one.source.key
    keys = 7 * (len(one.actor_id.key.encode()) + len(source.encode())) + 3 * len(key.encode())
    texts = (one.args, one.message, one.correlation_id, one.command, one.command_id)
    return 1_600 + keys + 5 * sum(len(text.encode()) for text in texts)
