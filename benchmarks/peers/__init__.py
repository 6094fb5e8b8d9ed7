"""The same deposits on other libraries and servers, in one run with Aether."""
