"""Declared types whose values cannot be stored, although they can be declared: found when a model is loaded."""
