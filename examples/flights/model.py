"""The flights as a model: `aether run examples.flights.model:model`."""

from aether import Model
from examples.flights.aircraft import Aircraft
from examples.flights.airport import Airport

model = Model("flights", actors=[Aircraft, Airport])
