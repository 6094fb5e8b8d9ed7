"""What a visitor of the dashboard may see and do, as the gateway's access decides it for the token of the sign-in."""

from collections.abc import Iterable
from typing import TypeVar

from starlette.requests import Request

from aether.gateway.access import Access, Role
from aether.gateway.dashboard.browser import with_cookie
from aether.gateway.dashboard.pages import Visit
from aether.gateway.problems import HttpProblem
from aether.gateway.routes import Exchange
from aether.ids import ActorId
from aether.model.model import Model

T = TypeVar("T")

SEE_ERRORS = "aether.errors"
"""The command that a function of the user's is asked for, without kind and key: to see what handlers' errors say."""

DROP_DEAD_LETTER = "aether.drop_dead_letter"
"""The command that a function of the user's is asked for, with kind and key: to drop a dead letter of the actor."""

RETRY_TASK = "aether.retry_task"
"""The command that a function of the user's is asked for, with kind and key: to try a task of the actor again now."""

CANCEL_TASK = "aether.cancel_task"
"""The command that a function of the user's is asked for, with kind and key: to stop a task of the actor."""


class Rights:
    """Asks the gateway's access."""

    def __init__(self, access: Access, model: Model) -> None:
        self._access = access
        self._model = model

    async def caller(self, exchange: Exchange, role: Role, kind: str = "", key: str = "", command: str = "") -> str:
        """The name of who sends a request, which may be "". A problem when it may not be."""
        scope = with_cookie(exchange.scope, exchange.headers)
        return await self._access.caller(Request(scope, exchange.receive), role, kind, key, command)

    def role(self, kind: str, command: str) -> Role:
        """What a visit needs: `call` for a command, `read` for a query and for everything else."""
        declared = self._model.actor_type(kind).commands.get(command) if command else None
        return Role.READ if not command or (declared is not None and declared.query) else Role.CALL

    async def may(self, visit: Visit, role: Role, kind: str, key: str = "", command: str = "") -> bool:
        """Whether this visitor may."""
        try:
            await self.caller(visit.exchange, role, kind, key, command)
        except HttpProblem:
            return False
        return True

    async def may_call(self, visit: Visit, kind: str, key: str, command: str) -> bool:
        """Whether a form for a command is of use to this visitor."""
        return await self.may(visit, self.role(kind, command), kind, key, command)

    async def may_read(self, visit: Visit, kind: str) -> bool:
        """Whether this visitor may see the actors of a kind."""
        return await self.may(visit, Role.READ, kind)

    async def readable(
        self, visit: Visit, named: Iterable[tuple[T, ActorId]], kind: str | None, key: str | None
    ) -> list[tuple[T, ActorId]]:
        """Those whose actors have this kind and key (None: any) and may be read by this visitor, in their order."""
        asked = [(one, of) for one, of in named if kind in (None, of.kind) and key in (None, of.key)]
        sees = {one: await self.may_read(visit, one) for one in {of.kind for _, of in asked}}
        return [(one, of) for one, of in asked if sees[of.kind]]

    async def may_see_errors(self, visit: Visit) -> bool:
        """Whether this visitor may see what handlers' errors say, which may be anything."""
        return await self.may(visit, Role.ADMIN, "", "", SEE_ERRORS)
