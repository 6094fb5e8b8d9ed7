"""The dashboard at `/ui/`: pages for people, made on the server, over the same client as the rest of the gateway.

Its pages carry no script and no style within them (see `browser`), and work without script. A kind and a key are in the
query string and not in the path, so that every key can be looked at: a browser takes `..` out of paths.
"""
