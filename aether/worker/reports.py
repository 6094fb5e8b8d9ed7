"""What a worker says of itself: its row in the table, and its answers about its state, its numbers and its model."""

import os
import time
from collections.abc import Callable
from typing import Any

from aether.cluster.cluster import Cluster
from aether.core.cluster.deployment import MODEL_VERSION, OUTDATED
from aether.core.cluster.status import ANSWERS, Status, encode_status
from aether.core.health import Health
from aether.core.metrics.worker_metrics import WorkerMetrics, encode_metrics
from aether.model.model import Model
from aether.ports import Subscription
from aether.runtime.runtime import Runtime
from aether.system.environment import boot_id, host_name
from aether.waiting_tells import encode_waiting
from aether.worker.node import InformingTransport


class Reports:
    """What one worker says. `state` gives which of the states of `Status` it is in; `outdated`, that it is replaced."""

    def __init__(
        self,
        model: Model,
        runtime: Runtime,
        cluster: Cluster,
        health: Health,
        *,
        incarnation: str,
        state: Callable[[], str],
        outdated: Callable[[], bool],
    ) -> None:
        self._model = model
        self._runtime = runtime
        self._cluster = cluster
        self._health = health
        self._incarnation = incarnation
        self._state = state
        self._outdated = outdated
        self._schema = model.schema_json()
        self._always = {
            "host": host_name(),
            "boot_id": boot_id(),
            "pid": os.getpid(),
            "address": f"{host_name()}:{os.getpid()}",
            "model": model.name,
            MODEL_VERSION: model.fingerprint,
            "started_at": time.time(),
            ANSWERS: True,
        }

    def row(self) -> dict[str, Any]:
        """What its row in the table says for people."""
        return {
            **self._always,
            **({OUTDATED: True} if self._outdated() else {}),
            "active": self._runtime.active_count,
            "counters": self._runtime.counters.as_dict(),
        }

    async def answer(self, transport: InformingTransport) -> Subscription:
        """Answer what workers are asked, and give back the subscription for the model. Raises `Unavailable`."""
        await transport.answer_status(self._status)
        await transport.answer_metrics(self._metrics)
        await transport.answer_waiting(self._waiting)
        return await transport.info(lambda: self._schema)

    def _status(self) -> bytes:
        return encode_status(
            Status(
                member=self._cluster.name,
                incarnation=self._incarnation,
                state=self._state(),
                why=self._health.trouble,
                shards=self._cluster.moves().held,
                model_version=self._model.fingerprint,
            )
        )

    def _metrics(self) -> bytes:
        counters = self._runtime.counters
        failures, rejections = counters.failures.groups(), counters.rejections.groups()
        readings = self._runtime.readings()
        return encode_metrics(WorkerMetrics(self._cluster.name, self._incarnation, readings, failures, rejections))

    def _waiting(self) -> bytes:
        return encode_waiting(self._cluster.name, self._runtime.waiting_tells(), self._runtime.running_tasks())
