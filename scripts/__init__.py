"""What is run in a checkout and is in no wheel."""
