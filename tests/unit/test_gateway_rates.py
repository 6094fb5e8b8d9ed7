"""Request rates: each caller has its own, memory is bounded, and who is over it hears when to come again."""

from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether.errors import ConfigError
from aether.gateway.access import ByToken, Role
from aether.gateway.config import GatewayConfig, from_variables
from aether.gateway.rates import Rates, address_of_caller
from tests.support.gateway import Served, served

SLOW = GatewayConfig(rate_per_s=0.01, rate_burst=3)


@pytest.fixture
async def one() -> AsyncIterator[Served]:
    tokens = {"a" * 20: (Role.CALL, "alice"), "b" * 20: (Role.CALL, "bob")}
    async with served(config=SLOW, access=ByToken(tokens)) as it:
        yield it


def bearer(letter: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {letter * 20}"}


async def test_who_sends_too_many_is_refused_with_a_time_and_nothing_is_done(one: Served) -> None:
    for _ in range(3):
        sent = await one.http.post("/actors/account/x/deposit", json={"amount": 1}, headers=bearer("a"))
        assert sent.status_code == 200
    refused = await one.http.post("/actors/account/x/deposit", json={"amount": 1}, headers=bearer("a"))
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
    assert refused.json()["limit"] == "rate_per_s"
    assert 90 <= int(refused.headers["retry-after"]) <= 100
    other = await one.http.get("/actors/account/x/statement", headers=bearer("b"))
    assert other.json()["value"] == 3, "another token from the same address has a rate of its own"


async def test_who_guesses_tokens_is_slowed_down_and_those_who_have_one_are_not(one: Served) -> None:
    statuses = [(await one.http.get("/actors/account", headers=bearer("z"))).status_code for _ in range(5)]
    assert statuses == [401, 401, 401, 429, 429]
    assert (await one.http.get("/actors/account", headers=bearer("a"))).status_code == 200
    assert [(await one.http.get("/healthz")).status_code for _ in range(5)] == [200] * 5


async def test_pages_have_a_rate_of_their_own_and_headers_do_not_make_another_caller() -> None:
    async with served(config=SLOW) as one:
        for name in ("X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"):
            await one.http.get("/actors/account", headers={name: "1.2.3.4"})
        refused = await one.http.get("/actors/account", headers={"X-Forwarded-For": "9.9.9.9"})
        assert refused.status_code == 429
        assert (await one.http.get("/docs")).status_code == 200
        assert (await one.http.get("/events")).status_code == 429


@given(st.lists(st.tuples(st.floats(0, 5), st.sampled_from("ab")), max_size=200), st.integers(1, 10))
def test_no_caller_gets_more_than_its_rate_and_burst(steps: list[tuple[float, str]], burst: int) -> None:
    rates, now_s = Rates(2.0, burst, 10), 0.0
    taken: dict[str, list[float]] = {"a": [], "b": []}
    for step_s, caller in steps:
        now_s += step_s
        wait_s = rates.wait_s(caller, now_s)
        if not wait_s:
            taken[caller].append(now_s)
        else:
            assert 0 < wait_s <= 0.5 + 1e-6
            full = Rates(2.0, burst, 10)
            full._full_at_s = rates._full_at_s.copy()
            assert full.wait_s(caller, now_s + wait_s) == 0, "who waits so long is taken"
    for times in taken.values():
        for index, first_s in enumerate(times):
            for count, last_s in enumerate(times[index:], 1):
                assert count <= burst + 2.0 * (last_s - first_s) + 1e-3


def test_a_million_addresses_are_not_remembered() -> None:
    rates = Rates(1.0, 1, 100)
    for number in range(10_000):
        assert rates.wait_s(f"address {number}", 0.0) == 0
    assert len(rates) == 100


def test_one_host_is_one_caller_whichever_of_its_addresses_it_uses() -> None:
    def of(host: str) -> str:
        return address_of_caller({"type": "http", "client": (host, 1)})

    assert of("2001:db8::1") == of("2001:db8::ffff:1") != of("2001:db8:0:1::1")
    assert of("::ffff:10.0.0.1") == of("10.0.0.1") == "10.0.0.1"
    assert of("fe80::1%eth0") == "fe80::/64"
    assert address_of_caller({"type": "http", "client": None}) == ""
    assert of("testclient") == "testclient"


def test_the_settings_come_from_the_environment_and_are_checked() -> None:
    assert from_variables(GatewayConfig, {"AETHER_HTTP_RATE_PER_S": "50"}).rate_per_s == 50
    for wrong in ("0", "-1", "nan"):
        with pytest.raises(ConfigError):
            from_variables(GatewayConfig, {"AETHER_HTTP_RATE_PER_S": wrong})
