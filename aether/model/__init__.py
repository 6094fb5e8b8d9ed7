"""What a user declares: actors, decorators, deciders, the model and its schemas."""
