"""What several tests share: actors, nodes, servers."""
