"""What users test their actors with."""
