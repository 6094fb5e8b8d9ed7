"""A chat with a language model, as an actor: the conversation is its history, model and tools are tasks."""
