"""A connection to NATS: sessions, protocol, subscriptions and replies. Knows neither streams nor actors."""
