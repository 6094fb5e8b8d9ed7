"""One worker process: what it is made of, how it serves and ends, what it says of itself."""
