"""Programs that use Aether as its users do: through the package root, a pool and a client."""
