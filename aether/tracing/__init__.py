"""Traces of calls, turns, commits and tells, for programs that configure OpenTelemetry; nothing for others.

`spans` says what a part of Aether may ask of tracing, `configured` whether there is any. `otel` does it with
OpenTelemetry and is the only module that imports its API; `export` configures its SDK for processes of our own.
"""
