"""A FastAPI application with the gateway of a model mounted in it."""
