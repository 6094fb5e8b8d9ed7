"""The adapters of the ports in memory: the reference of what each port means, for one process."""
