"""Stored data of earlier versions, and the models that made it."""
