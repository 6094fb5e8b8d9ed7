"""Orders, stock, payment and shipping: a process over several actors, with what undoes it when a step fails."""
